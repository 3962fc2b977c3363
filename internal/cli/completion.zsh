#compdef noid
# zsh completion for noid. It runs nothing of the line that is typed but noid itself.

_noid()
{
    local -a out list options
    local line directive self=${(Q)words[1]}
    whence -- "$self" >/dev/null || self=noid # an alias, or a path with a ~
    out=("${(@f)$("$self" __complete "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    directive=${out[-1]#:}
    [[ $directive == <-> ]] || return 1
    out[-1]=()
    [[ $PREFIX == -*=* ]] && compset -P '*=' # noid answers with the values alone
    for line in "${out[@]}"; do
        [[ -n $line ]] && list+=("${${line%%$'\t'*}//:/\\:}${${line[(r)$'\t']:+:${line#*$'\t'}}}")
    done
    ((directive & 2)) && options=(-S '')
    _describe -t noid noid list "${options[@]}"
    ((directive & 4)) || _files
}

if [[ $funcstack[1] == _noid ]]; then
    _noid "$@"
else
    compdef _noid noid
fi
