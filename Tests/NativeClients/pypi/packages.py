"""Builds Python distributions by hand: no build tool, no network.

packages.py wheel DIR NAME VERSION TEXT DEPENDENCY...   the same with dependencies
packages.py wheel|sdist DIR NAME VERSION [TEXT]   DIR gets a valid distribution whose module says TEXT; its path is printed
packages.py liar DIR NAME VERSION                 a wheel whose METADATA names another project
packages.py broken DIR NAME VERSION               a wheel cut in the middle of its zip
"""
import base64
import hashlib
import io
import os
import sys
import tarfile
import zipfile


def metadata(name, version, needs=()):
    return (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: a test of {name}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs) +
        "Author: Nobody\nLicense: MIT\nRequires-Python: >=3.8\nDescription-Content-Type: text/plain\n\nNothing to see.\n"
    )


def module(name):
    return name.replace("-", "_").replace(".", "_").lower()


def wheel_bytes(name, version, text, declared, needs=()):
    info = f"{module(name)}-{version}.dist-info"
    files = {
        f"{module(name)}.py": f"said = {text!r}\n",
        f"{info}/METADATA": metadata(declared, version, needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for path, content in files.items():
            z.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def wheel(name, version, text="hello", *needs):
    return f"{module(name)}-{version}-py3-none-any.whl", wheel_bytes(name, version, text, name, needs)


def liar(name, version):
    return f"{module(name)}-{version}-py3-none-any.whl", wheel_bytes(name, version, "a lie", "someone-else")


def broken(name, version):
    file, content = wheel(name, version, "x" * 5000)
    return file, content[: len(content) * 2 // 3]


def sdist(name, version, text="hello"):
    top = f"{module(name)}-{version}"
    files = {
        "PKG-INFO": metadata(name, version),
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.8"\n\n'
        f'[tool.setuptools]\npy-modules = ["{module(name)}"]\n',
        f"{module(name)}.py": f"said = {text!r}\n",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"{top}/{path}")
            entry.size = len(content.encode())
            t.addfile(entry, io.BytesIO(content.encode()))
    return f"{top}.tar.gz", out.getvalue()


def main(kind, folder, *rest):
    file, content = {"wheel": wheel, "sdist": sdist, "liar": liar, "broken": broken}[kind](*rest)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, file)
    with open(path, "wb") as f:
        f.write(content)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
