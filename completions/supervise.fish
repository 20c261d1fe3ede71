# Completion of supervise(1) in fish. Made from src/cli/options.rs by
# cargo test --test documents -- --ignored write

# Prints the words of the command, the one at the cursor included. Nothing if that is the
# value of an option.
function __supervise_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        if contains -- $words[1] -t --grace --stop-delay --stop-on --leftovers -r --rewrite -p --parent-death-signal -e --remap-exit -f --services --status-file --report --report-limit --rehearse --log-format
            or string match -qr -- '^-[gcsvqwhV]*[trpef]$' $words[1]
            set -q words[2]; or return
            set -e words[1..2]
        else if test "$words[1]" = --
            set -e words[1]
            break
        else if string match -q -- '-?*' $words[1]
            set -e words[1]
        else
            break
        end
    end
    string escape -- $words
    commandline -ct
end

# Whether no word of the command stands before the cursor.
function __supervise_takes_options
    test (__supervise_command | count) -le 1
end

# Completes the command as if it stood alone.
function __supervise_complete_command
    set -l words (__supervise_command)
    set -q words[1]; and complete --do-complete=(string join ' ' -- $words | string collect)
end

complete -c supervise -n __supervise_takes_options -s t -l grace -x -a 'infinity' -d 'Time from a stop request to SIGKILL'
complete -c supervise -n __supervise_takes_options -l stop-delay -x -d 'Wait before forwarding a stop request'
complete -c supervise -n __supervise_takes_options -l stop-on -x -a 'TERM INT QUIT HUP USR1 USR2 ALRM WINCH CONT PWR RTMIN+3' -d 'Treat SIGNAL as a stop request'
complete -c supervise -n __supervise_takes_options -l leftovers -x -a 'auto stop wait leave' -d 'What to do with processes that outlive COMMAND'
complete -c supervise -n __supervise_takes_options -s g -l process-group -d 'Forward signals to the process group of COMMAND'
complete -c supervise -n __supervise_takes_options -s c -l single-child -d 'Forward signals to COMMAND only'
complete -c supervise -n __supervise_takes_options -s r -l rewrite -x -d 'Forward signal TO when FROM is received'
complete -c supervise -n __supervise_takes_options -s p -l parent-death-signal -x -a 'TERM INT QUIT HUP USR1 USR2 ALRM WINCH CONT PWR RTMIN+3' -d 'Have the kernel send SIGNAL to supervise when its parent exits'
complete -c supervise -n __supervise_takes_options -s s -l subreaper -d 'Accepted for compatibility with tini'
complete -c supervise -n __supervise_takes_options -s e -l remap-exit -x -d 'Exit with 0 if the status of COMMAND is CODE'
complete -c supervise -n __supervise_takes_options -l no-reraise -d 'Exit with 128+N when signal N kills COMMAND'
complete -c supervise -n __supervise_takes_options -l no-notify-relay -d 'Leave NOTIFY_SOCKET unchanged'
complete -c supervise -n __supervise_takes_options -s f -l services -r -F -d 'Run the services that FILE describes'
complete -c supervise -n __supervise_takes_options -l check -d 'Check the files of --services'
complete -c supervise -n __supervise_takes_options -l status -d 'Print the state of each service'
complete -c supervise -n __supervise_takes_options -l status-file -r -F -d 'Keep the state of the services in FILE'
complete -c supervise -n __supervise_takes_options -l report -r -F -d 'Write a JSON report of the run to FILE on exit'
complete -c supervise -n __supervise_takes_options -l report-limit -x -d 'Limit the report to BYTES'
complete -c supervise -n __supervise_takes_options -l rehearse -x -a 'ready' -d 'Test the shutdown'
complete -c supervise -n __supervise_takes_options -l log-format -x -a 'text json' -d 'Format of the log'
complete -c supervise -n __supervise_takes_options -s v -l verbose -d 'Log the steps of a stop'
complete -c supervise -n __supervise_takes_options -s q -l quiet -d 'Log errors only'
complete -c supervise -n __supervise_takes_options -s w -l warn-on-reap -d 'Log a warning for every reaped orphan'
complete -c supervise -n __supervise_takes_options -s h -l help -d 'Print a summary of the options'
complete -c supervise -n __supervise_takes_options -s V -l version -d 'Print the version'
complete -c supervise -x -a '(__supervise_complete_command)'
