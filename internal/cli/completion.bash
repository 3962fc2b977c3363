# bash completion for noid. It needs bash alone, and runs nothing of the line that is typed but noid itself.

_noid()
{
    local line=${COMP_LINE:0:COMP_POINT} words=() word n=-1
    # Bash splits words at = : and @ too, which are part of noid's: what no blank separates is joined again.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if ((n < 0)) || [[ $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            ((++n))
        fi
        words[n]+=${line:0:${#word}}
        line=${line:${#word}}
    done
    COMPREPLY=()
    local cur=${words[n]} self=${words[0]/#\~\//$HOME/}
    if ((n < 1)) || [[ $cur == *[\<\>]* || ${words[n-1]} == *[\<\>] ]]; then
        return # a file, by 'complete -o default'
    fi
    type -P "$self" >/dev/null || self=noid # an alias

    local out directive
    out=$("$self" __complete "${words[@]:1}" 2>/dev/null)
    directive=${out##*:} out=${out%:*}
    ((directive & 2)) && compopt -o nospace
    ((directive & 4)) && compopt +o default

    # Readline replaces what follows the last = or :, or begins with the last @, and not the whole word.
    local breaks=${COMP_WORDBREAKS//[!=:@]/} prefix= flag= longest=0 tab=$'\t' i
    [[ $breaks && $cur == *[$breaks]* ]] && prefix=${cur%"${cur##*[$breaks]}"}
    prefix=${prefix%@}
    [[ $cur == -*=* ]] && flag=${cur%%=*}= # noid answers with the values alone
    while IFS= read -r line; do
        line=$flag$line
        [[ $line != "$flag" && $line == "$cur"* ]] || continue
        line=${line#"$prefix"} word=${line%%$tab*}
        ((${#word} > longest)) && longest=${#word}
        COMPREPLY+=("$line")
    done <<<"$out"
    for i in "${!COMPREPLY[@]}"; do
        line=${COMPREPLY[i]} word=${line%%$tab*}
        if ((${#COMPREPLY[@]} > 1 && COMP_TYPE != 37 && COMP_TYPE != 42)) && [[ $line == *$tab* ]]; then
            printf -v word '%-*s  (%s)' "$longest" "$word" "${line#*$tab}"
            word=${word:0:${COLUMNS:-80}-1}
        fi
        COMPREPLY[i]=$word
    done
}

complete -o default -F _noid noid
