# Completion of supervise(1) in fish. Made from src/cli/options.rs by
# cargo test --test documents -- --ignored write

# Prints the words of the command, the one at the cursor included. Nothing if that is the
# value of an option.
function __supervise_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        if contains -- $words[1] @with_value@
            or string match -qr -- '^-[@switches@]*[@valued@]$' $words[1]
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

@options@
complete -c supervise -x -a '(__supervise_complete_command)'
