"""The programs of the works on health checks: directors, real servers, HAProxy, loads."""

import os
import shutil
import sys

import bed

HERE = os.path.dirname(os.path.abspath(__file__))
TRAFFIC = f"{HERE}/../../netns-tests/traffic"
BIN = os.environ["BIN"]
VIP = "192.0.2.1"
# The web server of the checks, and the ones of the loads.
WEB, ECHO, SINK = 80, 7, 9


def python(name, title, *arguments, **options):
    """A program in Python, which says `ready`."""
    command = [sys.executable, "-u", *arguments]
    return bed.Program(name, title, command, **options)


def many():
    """A thousand addresses of one node, each a real server."""
    return [f"10.100.{number // 250}.{number % 250 + 1}" for number in range(bed.REALS)]


def service(name, listen, reals, keys="", scheduler="rr"):
    """A service as configured."""
    lines = [f'[[service]]\nname = "{name}"\nlisten = ["{listen}"]']
    lines += [f'scheduler = "{scheduler}"\n{keys}']
    lines += [f'[[service.real]]\naddress = "{real}"\nweight = 1' for real in reals]
    return "\n".join(lines) + "\n"


def http_check(interval, more=""):
    """A check by HTTP, through the tunnel."""
    return f'[[service.check]]\ntype = "http"\ninterval = "{interval}"\n{more}'


def director(name, uplink, services, keys="", **options):
    """This project's director, ready; `keys` are further lines of [director]."""
    config = bed.text(
        f"{name}.toml",
        f'[director]\ntun = "vstun0"\nuplinks = ["{uplink}"]\narp = false\n'
        f'control = "{bed.RUN}/{name}.sock"\n{keys}' + "".join(services),
    )
    program = bed.Program(name, name, [f"{BIN}/vstun-director", "--config", config], **options)
    return program.says("ready")


def real_server(name, directors, keys="", **options):
    """The real server's daemon in a node, ready."""
    allowed = ", ".join(f'"{director}"' for director in directors)
    config = bed.text(
        f"{name}-vstun.toml",
        f'[realserver]\ntun = "vstun0"\nvips = ["{VIP}"]\ndirectors = [{allowed}]\n'
        f'control = "{bed.RUN}/{name}.sock"\n{keys}',
    )
    command = [f"{BIN}/vstun-realserver", "--config", config]
    return bed.Program(name, f"{name}-vstun", command, **options).says("ready")


def nginx(name, **options):
    """A web server on every address of a node."""
    config = bed.text(
        f"{name}-nginx.conf",
        f"daemon off; master_process off; pid {bed.RUN}/{name}-nginx.pid;\n"
        "error_log stderr warn; events { worker_connections 8192; }\n"
        f"http {{ access_log off; server {{ listen {WEB} backlog=4096;"
        " location / { return 200 ok; } } }\n",
    )
    command = [find("nginx"), "-e", "stderr", "-c", config]
    return bed.Program(name, f"{name}-nginx", command, **options)


def haproxy(name, reals, interval, **options):
    """HAProxy with a check of each real server, and nothing else to do."""
    lines = [
        "global\n nbthread 1\n maxconn 4096",
        "defaults\n mode http\n timeout connect 5s\n timeout client 1m\n timeout server 1m",
        "listen idle\n bind 127.0.0.1:9999\n option httpchk GET /\n timeout check 1s",
    ]
    lines += [
        f" server s{number} {real}:{WEB} check inter {interval}"
        for number, real in enumerate(reals)
    ]
    config = bed.text("haproxy.cfg", "\n".join(lines) + "\n")
    command = [find("haproxy"), "-db", "-f", config]
    return bed.Program(name, "haproxy", command, **options)


def bare(name, rate, how, **options):
    """A program that checks the VIP's web server, and nothing else; see bare.rs."""
    command = [os.environ["BARE"], f"{VIP}:{WEB}", str(rate), how]
    return bed.Program(name, f"bare-{how}", command, **options).says("ready")


def find(program):
    """The path of a program, searched in root's PATH too."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise RuntimeError(f"{program} is missing: netns-tests/deps bench installs it")
    return path
