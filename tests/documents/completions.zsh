#compdef supervise
# Completion of supervise(1) in zsh. Made from src/cli/options.rs by
# cargo test --test documents -- --ignored write

_arguments -s -S -A '-*' \
@options@
    '(-)*:::command:_normal'
