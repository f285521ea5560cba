"""npdraw on systems that lack names of Linux: it runs on macOS, and says what it needs on Windows.

The names below exist in Python on Linux and not on macOS. They were listed by evaluating the
conditions on `sys.platform` in typeshed's stubs (those of mypy 2.4.1), with "linux" and "darwin",
for Python 3.13; a pattern stands for names with a common beginning.
"""

import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from PIL import Image

import npdraw

LINUX_ONLY = {
    "os": """EFD_* GRND_* MFD_* O_DIRECT O_LARGEFILE O_NOATIME O_PATH O_RSYNC O_TMPFILE
        POSIX_FADV_* P_PIDFD RTLD_DEEPBIND RWF_* SCHED_BATCH SCHED_IDLE SCHED_RESET_ON_FORK
        SPLICE_* ST_APPEND ST_MANDLOCK ST_NOATIME ST_NODEV ST_NODIRATIME ST_NOEXEC ST_RELATIME
        ST_SYNCHRONOUS ST_WRITE XATTR_* copy_file_range eventfd* fdatasync getrandom getresgid
        getresuid getxattr listxattr memfd_create pidfd_open pipe2 posix_fadvise posix_fallocate
        removexattr sched_getaffinity sched_getparam sched_getscheduler sched_rr_get_interval
        sched_setaffinity sched_setparam sched_setscheduler setns setresgid setresuid setxattr
        splice timerfd_* unshare CLONE_* TFD_* PIDFD_*""",
    "errno": """EADV EBADE EBADFD EBADR EBADRQC EBADSLT EBFONT ECHRNG ECOMM EDEADLOCK EDOTDOT
        EISNAM EKEYEXPIRED EKEYREJECTED EKEYREVOKED EL2HLT EL2NSYNC EL3HLT EL3RST ELIB* ELNRNG
        EMEDIUMTYPE ENAVAIL ENOANO ENOCSI ENOKEY ENOMEDIUM ENONET ENOPKG ENOTNAM ENOTUNIQ EREMCHG
        EREMOTEIO ERESTART ERFKILL ESRMNT ESTRPIPE EUCLEAN EUNATCH EXFULL""",
    "signal": """SIGCLD SIGPOLL SIGPWR SIGRTMAX SIGRTMIN SIGSTKFLT pidfd_send_signal sigtimedwait
        sigwaitinfo struct_siginfo""",
    "socket": """AF_ALG AF_ASH AF_ATM* AF_AX25 AF_BRIDGE AF_CAN AF_ECONET AF_IRDA AF_KEY AF_LLC
        AF_NET* AF_PACKET AF_PPPOX AF_QIPCRTR AF_RDS AF_ROSE AF_SECURITY AF_TIPC AF_VSOCK
        AF_WANPIPE AF_X25 ALG_* CAN_* IOCTL_VM_* IPPROTO_MPTCP IPPROTO_UDPLITE
        IP_BIND_ADDRESS_NO_PORT IP_TRANSPARENT J1939_* MSG_CMSG_CLOEXEC MSG_CONFIRM MSG_ERRQUEUE
        MSG_FASTOPEN MSG_MORE NETLINK_* PACKET_* PF_CAN PF_PACKET PF_RDS SCM_CREDENTIALS SCM_J1939*
        SOCK_CLOEXEC SOCK_NONBLOCK SOL_ALG SOL_CAN_* SOL_RDS SOL_TIPC SO_DOMAIN SO_INCOMING_CPU
        SO_J1939* SO_MARK SO_PASSCRED SO_PASSSEC SO_PEERCRED SO_PEERSEC SO_PRIORITY SO_PROTOCOL
        SO_VM_* TCP_CONGESTION TCP_CORK TCP_DEFER_ACCEPT TCP_INFO TCP_KEEPIDLE TCP_LINGER2
        TCP_QUICKACK TCP_SYNCNT TCP_USER_TIMEOUT TCP_WINDOW_CLAMP TIPC_* UDPLITE_* VMADDR_*
        VM_SOCKETS_*""",
    "fcntl": """DN_* F_ADD_SEALS F_EXLCK F_GETLK64 F_GETPIPE_SZ F_GETSIG F_GET_SEALS F_NOTIFY
        F_SEAL_* F_SETLK64 F_SETLKW64 F_SETPIPE_SZ F_SETSIG F_SHLCK LOCK_MAND LOCK_READ LOCK_RW
        LOCK_WRITE""",
    "select": "EPOLL* POLLMSG POLLRDHUP epoll",
    "resource": """RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_OFILE RLIMIT_RTPRIO RLIMIT_RTTIME
        RLIMIT_SIGPENDING RUSAGE_THREAD prlimit""",
    "mmap": """MADV_DODUMP MADV_DOFORK MADV_DONTDUMP MADV_DONTFORK MADV_HUGEPAGE MADV_HWPOISON
        MADV_MERGEABLE MADV_NOHUGEPAGE MADV_REMOVE MADV_UNMERGEABLE MAP_DENYWRITE MAP_EXECUTABLE
        MAP_POPULATE MAP_STACK""",
    "time": "CLOCK_BOOTTIME CLOCK_TAI pthread_getcpuclockid",
}

# Libraries are imported before the names go: what they were built for on Linux is not tested here.
WITHOUT = """
import asyncio, fnmatch, importlib, numpy, os, pkgutil, subprocess, sys, torch, torchvision
import PIL.Image, rich.progress, safetensors, torchvision.transforms.v2.functional, typer
import torch.distributed, torch.nn.parallel

REMOVED = {}
for module, patterns in NAMES.items():
    module = importlib.import_module(module)
    for name in dir(module):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split()):
            REMOVED[name] = delattr(module, name)
"""

MAC = """
import npdraw
for found in pkgutil.walk_packages(npdraw.__path__, "npdraw."):
    importlib.import_module(found.name)
from npdraw.cli import execute
for line in COMMANDS:
    code = execute(line)
    assert code == 0, (line, code)
print("removed", len(REMOVED))
"""

TINY = ["--image-size", "8", "--part-size", "4", "--parts", "4", "--quiet", "--device", "cpu"]


def run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(npdraw.__file__).parents[1])},
    )


def test_every_module_and_the_first_commands_work_without_names_of_linux(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(60):
        picture = Image.new("L", (8, 8))
        picture.paste(255, (number % 5, 1, number % 5 + 2, 2 + number % 6))
        picture.save(tmp_path / f"pictures/{number}.png")
    commands = [
        ["--help"],
        ["data", "ls", "--data-root", "none"],
        ["parse", "--data", "folder:pictures", *TINY, "--out", "parse.safetensors"],
        ["info", "parse.safetensors", "--verify"],
    ]
    code = f"NAMES, COMMANDS = {LINUX_ONLY!r}, {commands!r}\n{WITHOUT}\n{MAC}"
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.splitlines()[-1].split()[1])
    assert (tmp_path / "parse.safetensors").is_file()
    assert count > 200 or sys.platform != "linux"


def test_the_list_has_what_linux_alone_has() -> None:
    # A few names that macOS has, some of which npdraw uses: the patterns must spare them.
    kept = {
        "os": "O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_EXCL O_SYNC O_DSYNC fsync sync kill SCHED_OTHER",
        "errno": "EDQUOT ESTALE ENOTSUP ENOTBLK ELOOP EREMOTE ENOSR ENOSTR ETIME EOVERFLOW",
        "signal": "SIGHUP SIGINT SIGTERM SIGINFO SIGALRM sigwait set_wakeup_fd",
        "socket": "AF_INET AF_UNIX SO_REUSEADDR SO_REUSEPORT TCP_NODELAY TCP_KEEPINTVL MSG_PEEK",
        "fcntl": "flock LOCK_EX LOCK_NB LOCK_SH LOCK_UN F_GETFL F_SETFL F_FULLFSYNC",
        "select": "poll select kqueue POLLIN",
        "resource": "getrusage RUSAGE_SELF RLIMIT_AS RLIMIT_FSIZE",
    }
    for module, names in kept.items():
        for name in names.split():
            gone = [p for p in LINUX_ONLY[module].split() if fnmatchcase(name, p)]
            assert gone == [], name


WINDOWS = """
import os, signal, sys
sys.modules["fcntl"] = None
del signal.SIGHUP, os.O_NOFOLLOW, os.O_NONBLOCK
sys.argv = ["npdraw", *ARGUMENTS]
from npdraw.__main__ import main
main()
"""


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "glyphs", "--json"]])
def test_without_fcntl_one_line_says_where_npdraw_runs(
    arguments: list[str], tmp_path: Path
) -> None:
    done = run(f"ARGUMENTS = {arguments!r}\n{WINDOWS}", tmp_path)
    message = f"npdraw runs on Linux and macOS, not on {sys.platform}: it locks files with fcntl"
    hint = "On Windows, install and run it in WSL, which is Linux."
    assert (done.returncode, done.stderr) == (2, f"Error: {message}\nHint: {hint}\n")
    if "--json" in arguments:
        error = {"code": "usage", "message": message, "hint": hint}
        assert json.loads(done.stdout) == {"ok": False, "command": "sample", "error": error}
    else:
        assert done.stdout == ""


def test_a_mac_has_no_remote_io_error(tmp_path: Path) -> None:
    code = "import errno; del errno.EREMOTEIO; import npdraw.errors as e; print(len(e.FAILING))"
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
