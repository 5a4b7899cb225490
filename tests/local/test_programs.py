"""Ordinary programs work in a local sandbox as they do on the machine it borrows them from."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.finding(19)

# A wheel with one program, made where it is installed: there is no network to take one from.
MAKE_A_WHEEL = """python3 - <<'END'
import zipfile
info = "greeter-1.0.dist-info/"
with zipfile.ZipFile("greeter-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greeter.py", "def main():\\n    print('hello from greeter')\\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: greeter\\nVersion: 1.0\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "entry_points.txt", "[console_scripts]\\ngreet = greeter:main\\n")
    wheel.writestr(info + "RECORD", "")
END"""


@pytest.fixture
async def pip(run, sandbox):
    if (await run(sandbox, "python3 -m pip --version")).code:
        pytest.skip("this machine's system Python has no pip")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/os-release",
        "/etc/services",
        "/etc/protocols",
        "/etc/mime.types",
        "/etc/fonts/fonts.conf",
    ],
)
async def test_what_programs_look_up_in_etc_is_there(run, sandbox, path):
    try:
        here = Path(path).read_text()
    except FileNotFoundError:
        pytest.skip(f"this machine has no {path}")
    assert (await run(sandbox, f"cat {path}")).output == here.strip()


async def test_java_starts_with_its_security_policy(run, sandbox):
    if shutil.which("java") is None:
        pytest.skip("this machine has no Java")
    program = "class A{public static void main(String[] a)throws Exception{" + (
        'System.out.println(java.security.MessageDigest.getInstance("SHA-256"));'
        "new java.security.SecureRandom().nextInt();}}"
    )
    answer = await run(sandbox, f"echo '{program}' > A.java; java -Xmx64m A.java", seconds=120)
    assert answer.code == 0, answer.output


async def test_pip_installs_a_program_that_is_then_found(run, sandbox, pip):
    answer = await run(
        sandbox,
        f"{MAKE_A_WHEEL}\npython3 -m pip install ./greeter-1.0-py3-none-any.whl && greet",
        seconds=120,
    )
    assert answer.code == 0, answer.output
    assert "hello from greeter" in answer.output


async def test_pip_installs_into_a_venv_as_well(run, sandbox, pip):
    answer = await run(
        sandbox,
        f"{MAKE_A_WHEEL}\npython3 -m venv v && v/bin/pip install ./greeter-1.0-py3-none-any.whl"
        " && v/bin/greet && ls .local",
        seconds=120,
    )
    if "ensurepip is not available" in answer.output:
        pytest.skip("this machine's system Python makes no venv")
    assert "hello from greeter" in answer.output
    assert "No such file" in answer.output, "nothing outside of the venv"


@pytest.mark.parametrize(
    ("look", "command"),
    [
        ("python3 -m pip --version", "python3 -m pip install requests"),
        ("npm --version", "npm view left-pad"),
    ],
)
async def test_without_a_network_an_installer_gives_up_at_once(run, sandbox, look, command):
    if (await run(sandbox, look, seconds=60)).code:
        pytest.skip(f"this machine has no {look.split()[0]} to try it with")
    began = time.monotonic()
    answer = await run(sandbox, command, seconds=300)
    assert answer.code not in (0, 124), answer.output
    assert time.monotonic() - began < 45, "asked again and again, it takes 70 s"
