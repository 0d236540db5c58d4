# podrun's completion for bash: podrun itself is asked what may follow.
_podrun() {
    local IFS=$'\013' words=() prefix="" last="" word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || [[ $word == [=:]* ]] || word=$2
        # bash parts words at = and :, and podrun does not.
        if [[ ( $word == [=:]* || $last == [=:]* ) && ${COMP_LINE-} == *"${words[-1]-}$word"* ]]; then
            prefix=${words[-1]}
            words[-1]+=$word
        else
            prefix=""
            words+=("$word")
        fi
        last=$word
    done
    # What stands before the part that bash completes is there already.
    [[ $last == [=:]* ]] && prefix=${words[-1]}
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
        _CLAP_COMPLETE_COMP_TYPE="${COMP_TYPE-}" _CLAP_COMPLETE_SPACE=false PODRUN_COMPLETE=bash \
        podrun -- "${words[@]}" 2>/dev/null)) || unset COMPREPLY
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    [[ ${COMPREPLY-} != *[=/:] ]] || compopt -o nospace
}
complete -o bashdefault -o nosort -F _podrun podrun

# Behind sudo, unless somebody completes that already (Debian's bash-completion does).
_podrun_behind_sudo() {
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]##*/} == podrun ]]; then
            local COMP_WORDS=("${COMP_WORDS[@]:i}") COMP_CWORD=$((COMP_CWORD - i))
            _podrun podrun "$2" "$3"
            return
        fi
    done
    ((COMP_CWORD > 1)) || COMPREPLY=($(compgen -c -- "$2"))
}
complete -p sudo >/dev/null 2>&1 || complete -p -D >/dev/null 2>&1 ||
    complete -o bashdefault -o default -F _podrun_behind_sudo sudo
