"""Drives quick-sandbox for the bench: one JSON request a line on stdin, one JSON answer a line on stdout, with the call's
milliseconds as seen here: {"do": "exec" | "checkpoint" | "revert", "arg": TEXT} -> {"ms": N, "out": TEXT} or {"error": TEXT}.
The first answer is for the boot. Everything ends with stdin."""
import asyncio, json, sys, time
from quicksand import Sandbox

async def main():
    began = time.perf_counter()
    box = Sandbox(image="alpine", memory="512M", cpus=1, accel="tcg", boot_timeout=240, network_mode="none")
    def answer(**fields):
        print(json.dumps(fields), flush=True)
    try:
        await box.start()
    except BaseException as e:
        answer(error=f"{type(e).__name__}: {e}"[:500])
        return
    answer(ms=(time.perf_counter() - began) * 1000, out="")
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            ask = json.loads(line)
            began, out = time.perf_counter(), ""
            try:
                if ask["do"] == "exec":
                    done = await box.execute(ask["arg"])
                    out = done.stdout
                    if done.exit_code != 0:
                        raise RuntimeError(f"exit code {done.exit_code}: {done.stderr}")
                elif ask["do"] == "checkpoint":
                    await box.checkpoint(ask["arg"])
                else:
                    await box.revert(ask["arg"])
                answer(ms=(time.perf_counter() - began) * 1000, out=out)
            except Exception as e:
                answer(error=f"{type(e).__name__}: {e}"[:500])
    finally:
        await box.stop()

asyncio.run(main())
