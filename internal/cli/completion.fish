# fish completion for noid. It runs nothing of the line that is typed but noid itself.

function __noid_complete
    set -l begun (commandline -ct)
    set -l words (commandline -opc) "$begun"
    set -l self $words[1]
    type -q -- "$self"; or set self noid
    set -l out (command $self __complete $words[2..-1] 2>/dev/null)
    set -l directive (string replace -r '^:' '' -- "$out[-1]")
    string match -qr '^[0-9]+$' -- "$directive"; or return
    set -l flag (string match -r -- '^-[^=]*=' "$begun") # noid answers with the values alone
    for line in $out[1..-2]
        echo -- "$flag$line"
    end
    if test (math (math --scale 0 $directive / 4) % 2) -eq 0
        __fish_complete_path "$begun"
    end
end

complete -c noid -f -a '(__noid_complete)'
