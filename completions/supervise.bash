# Completion of supervise(1) in bash. Made from src/cli/options.rs by
# cargo test --test documents -- --ignored write

_supervise() {
    local cur=${COMP_WORDS[COMP_CWORD]} i=1 word words option
    COMPREPLY=()
    while ((i < COMP_CWORD)); do
        word=${COMP_WORDS[i++]}
        case $word in
        --)
            _supervise_command "$i"
            return
            ;;
        -t | --grace | --stop-delay | --stop-on | --leftovers | -r | --rewrite | -p | --parent-death-signal | -e | --remap-exit | -f | --services | --status-file | --report | --report-limit | --rehearse | --log-format)
            option=$word
            ;;
        --*)
            continue
            ;;
        -?*)
            # -gt takes a value as -t does, and -t5 has it.
            [[ $word =~ ^-[gcsvqwhV]*[trpef]$ ]] || continue
            option=-${word: -1}
            ;;
        *)
            _supervise_command "$((i - 1))"
            return
            ;;
        esac
        # Its value. The characters = and : are words of their own.
        [[ ${COMP_WORDS[i]-} == = ]] && ((i++))
        while ((i < COMP_CWORD)) && [[ ${COMP_WORDS[i + 1]-} == [:=]* ]]; do
            ((i += 2))
        done
        if ((i >= COMP_CWORD)); then
            _supervise_value "$option"
            return
        fi
        ((i++))
    done
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-t --grace --stop-delay --stop-on --leftovers -g --process-group -c --single-child -r --rewrite -p --parent-death-signal -s --subreaper -e --remap-exit --no-reraise --no-notify-relay -f --services --check --status --status-file --report --report-limit --rehearse --log-format -v --verbose -q --quiet -w --warn-on-reap -h --help -V --version' -- "$cur")
    else
        _supervise_command "$i"
    fi
}

# Completes the value of an option.
_supervise_value() {
    local words=
    case $1 in
        -t | --grace) words='infinity' ;;
        --stop-on) words='TERM INT QUIT HUP USR1 USR2 ALRM WINCH CONT PWR RTMIN+3' ;;
        --leftovers) words='auto stop wait leave' ;;
        -p | --parent-death-signal) words='TERM INT QUIT HUP USR1 USR2 ALRM WINCH CONT PWR RTMIN+3' ;;
        -f | --services) compopt -o default ;;
        --status-file) compopt -o default ;;
        --report) compopt -o default ;;
        --rehearse) words='ready' ;;
        --log-format) words='text json' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${cur#[:=]}")
}

# Completes the command, whose word this is, as if it stood alone.
_supervise_command() {
    if declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif (($1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
    else
        compopt -o default
    fi
}

complete -F _supervise supervise
