# Made by unasync.py of _async: edit that.
