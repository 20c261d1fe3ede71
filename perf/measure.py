"""What can be measured of a program that runs another as its child.

Everything happens in a PID namespace that ends with the script, so that nothing
is left running. Needs Linux, unshare(1), valgrind, strace and a Rust toolchain.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]
# The same for everyone, whoever calls: start-up reads the environment.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
PATIENCE = 120

# How each is told to forward to its child alone and, if it can, to adopt orphans.
PEERS = {
    "tini-static": ["-s", "--"],
    "tini": ["-s", "--"],
    "dumb-init": ["-c", "--"],
    "catatonit": ["--"],
}
SUBREAPERS = {"tini-static", "tini"}


def enter_namespace():
    """Runs this script anew as PID 1 of a namespace that ends with it."""
    if os.getpid() != 1:
        as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *as_root, *UNSHARE[1:], sys.executable, *sys.argv])


def build():
    """Builds the program as the README says, and what it is measured with.

    Returns the paths of supervise by C library, of probe and of tiny.
    """
    run = lambda command: subprocess.run(command, shell=True, check=True, cwd=ROOT)
    readme = (ROOT / "README.md").read_text()
    ours, probe = {}, None
    for command, target in re.findall(r"^(RUSTFLAGS=.* cargo build .*--target (\S+).*)$", readme, re.M):
        libraries = output(["rustc", "--print", "target-libdir", "--target", target], os.environ).stdout.strip()
        if not Path(libraries).is_dir():
            print(f"{target} is not installed: not measured", file=sys.stderr)
            continue
        library = "musl" if target.endswith("musl") else "glibc"
        run(command)
        ours[library] = settled(ROOT / f"target/{target}/release/supervise", f"supervise-{library}")
        if not probe:
            run(f"{command} --example probe")
            probe = settled(ROOT / f"target/{target}/release/examples/probe")
    tiny = ROOT / "target/perf/tiny"
    tiny.parent.mkdir(parents=True, exist_ok=True)
    run(
        "rustc --edition 2024 -C panic=abort -C opt-level=s -C strip=symbols -C relocation-model=static"
        " -C target-feature=+crt-static -C link-args='-nostartfiles -nostdlib -static'"
        f" -o {tiny} perf/tiny.rs"
    )
    return ours, probe, settled(tiny)


def settled(file, name=None):
    """A copy of a program as an installation would leave it.

    What a linker has just written lies about in memory in small pieces, which costs
    page faults, and counts as dirty memory of whoever runs it until it is on the disk.
    """
    copy = ROOT / "target/perf/programs" / (name or Path(file).name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    shutil.copy(file, copy)
    with open(copy, "rb") as opened:
        os.fsync(opened.fileno())
    return str(copy)


def subjects(ours):
    """The command lines to put before a command, by name; none is `direct`."""
    found = {"direct": [], **{f"supervise, {name}": [program, "--"] for name, program in ours.items()}}
    for name, options in PEERS.items():
        if path := shutil.which(name):
            found[name] = [path, *options]
        else:
            print(f"{name} is not installed: not measured", file=sys.stderr)
    return found


# Short runs


def output(words, environment=ENVIRONMENT):
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode != 0:
        sys.exit(f"{words} ended with {done.returncode}: {done.stderr}")
    return done


def instructions(words):
    """User instructions of the process itself, from its start to its end."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    return int(re.search(r"Collected : (\d+)", output([*valgrind, *words]).stderr)[1])


def syscalls(words):
    """System calls: of the process itself, and of its child until that executes.

    `words` is to run `tiny later`, so that how many does not depend on who is quicker.
    """

    def count(*options):
        text = output(["strace", *options, "-c", "-U", "calls,name", "-o", "/dev/stdout", *words]).stdout
        return int(re.search(r"(\d+) total$", text, re.M)[1])

    own = count()
    # Two are those of `tiny`.
    return own, count("-f") - own - 2


def series(probe, mode, rounds, commands, cpu=None):
    """Lines of numbers that `probe` says of each of the commands, as one list each."""
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
    said = output([*UNSHARE, *pinned, probe, mode, str(rounds), *("\n".join(words) for words in commands)]).stdout
    lists = [[] for _ in commands]
    for line in said.splitlines():
        index, *numbers = map(int, line.split())
        lists[index].append(numbers)
    return lists


# Processes at work


class Running:
    """`words` run as PID 1 of a namespace of its own, or as the child of that."""

    def __init__(self, words, as_pid1):
        prefix = UNSHARE if as_pid1 else [*UNSHARE, "sh", "-c", '"$@"; exit $?', "sh"]
        self.process = subprocess.Popen(
            [*prefix, *words],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.pid1 = wait_until(lambda: children(self.process.pid))[0]
        self.pid = self.pid1 if as_pid1 else wait_until(lambda: children(self.pid1))[0]

    def end(self):
        """Ends everything in the namespace, if it has not ended."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid1, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def hear(self, expected):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline().decode().strip() if ready else "nothing"
        if line != expected:
            sys.exit(f"{self.process.args} said '{line}', not '{expected}'")


@contextlib.contextmanager
def running(words, as_pid1):
    run = Running(words, as_pid1)
    try:
        yield run
    finally:
        run.end()


def wait_until(fact):
    end = time.monotonic() + PATIENCE
    while not (value := fact()):
        if time.monotonic() > end:
            sys.exit("waited in vain")
        time.sleep(0.002)
    return value


def children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def executes(pid, path):
    """Whether the process has become this program."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe") == path
    return False


def at_rest(run, supervisor, tiny):
    """Waits until a run of `supervisor` with `tiny` as its command is idle; its pid."""
    pid = run.pid
    if supervisor:
        wait_until(lambda: any(executes(child, tiny) for child in children(pid)))
    else:
        wait_until(lambda: executes(pid, tiny))
    # What follows the fork is not seen from outside but by its end.
    used = -1
    while used != (used := cpu_seconds(pid)) or state(pid) != "S":
        time.sleep(0.05)
    return pid


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def memory(pid):
    """Kilobytes of memory by name, as smaps_rollup has them."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}


def cpu_seconds(pid):
    """Processor time of a process alone, without its children."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED, see clock_getcpuclockid(3)


def switches(pid):
    """How often a process was switched from, by itself or not."""
    text = Path(f"/proc/{pid}/status").read_text()
    return sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", text))


def idle(pids, seconds):
    """Context switches and processor seconds of each while they do nothing."""
    before = [(switches(pid), cpu_seconds(pid)) for pid in pids]
    time.sleep(seconds)
    return [(switches(pid) - was, cpu_seconds(pid) - used) for pid, (was, used) in zip(pids, before)]


def seconds_until_end(pid, number):
    """Sends a signal and returns how long the process goes on."""
    handle = os.pidfd_open(pid)
    start = time.monotonic()
    os.kill(pid, number)
    ended, _, _ = select.select([handle], [], [], PATIENCE)
    end = time.monotonic()
    os.close(handle)
    if not ended:
        sys.exit(f"pid {pid} does not end")
    return end - start


def room_for(processes):
    """Whether so many more do not bring the machine near its last pid."""
    now = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    return now + processes < 0.6 * int(Path("/proc/sys/kernel/pid_max").read_text())


def quartiles(samples):
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    return tuple(statistics.quantiles(samples, n=4, method="inclusive"))
