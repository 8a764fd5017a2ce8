"""A project's page of 200 files, as pip asks for it, beside pypiserver and beside nginx with the same bytes as a file."""
import hashlib, io, os, sys, uuid, zipfile

import servers
from gate import Compare, Row, paired
from rows.reads import get

FILES = 200


def wheel(number):
    """A wheel that says what a wheel must."""
    version, out = f"1.{number}", io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("paged/__init__.py", f"version = {version!r}\n")
        archive.writestr(f"paged-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: paged\nVersion: {version}\nRequires-Python: >=3.8\n")
        archive.writestr(f"paged-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"paged-{version}.dist-info/RECORD", "")
    return f"paged-{version}-py3-none-any.whl", version, out.getvalue()


def publish(server, name, version, content):
    """As twine does."""
    edge = uuid.uuid4().hex
    fields = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": "paged", "version": version,
              "filetype": "bdist_wheel", "pyversion": "py3", "requires_python": ">=3.8", "sha256_digest": hashlib.sha256(content).hexdigest()}
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
    parts += [f'--{edge}\r\nContent-Disposition: form-data; name="content"; filename="{name}"\r\n\r\n'.encode(), content]
    parts += [f"\r\n--{edge}--\r\n".encode()]
    servers.call(server, "POST", "/pypi/index/", b"".join(parts), f"multipart/form-data; boundary={edge}")


def pypiserver(folder):
    program = f"{os.path.dirname(sys.executable)}/pypi-server"
    if not os.path.exists(program):
        raise SystemExit("pypiserver is not to be had here")
    port = servers.free_port()
    flags = ["--disable-fallback", "--backend", "cached-dir", "--server", "gevent"]
    command = [program, "run", "-p", str(port), "-i", "127.0.0.1", *flags, f"{folder}/wheels"]
    return servers.Server("pypiserver", command, port, f"{folder}/pypiserver.log")


def run(bench):
    folder = bench.folder("pages")
    os.makedirs(f"{folder}/wheels", exist_ok=True)
    server, web = servers.granary(bench.binary, folder), servers.nginx(folder)
    bench.closing += [server, web]
    servers.make_repository(server, "index", "pypi")
    for number in range(FILES):
        name, version, content = wheel(number)
        publish(server, name, version, content)
        with open(f"{folder}/wheels/{name}", "wb") as file:
            file.write(content)
    page = servers.call(server, "GET", "/pypi/index/simple/paged/")
    if page.count(b"<a ") != FILES:
        raise SystemExit(f"the page lists {page.count(b'<a ')} files")
    with open(f"{folder}/nginx/files/page", "wb") as file:
        file.write(page)
    peer = pypiserver(folder)
    bench.closing.append(peer)
    servers.call(peer, "GET", "/simple/paged/")  # it hashes every file when it is first asked
    html = ("Accept: text/html",)
    loads = {"page": get((server, "/pypi/index/simple/paged/", None), 100, fields=html), "nginx": get((web, "/page", None), 100, fields=html),
             "pypiserver": get((peer, "/simple/paged/", None), 10, 2, fields=html)}
    return paired(bench, "pages", f"index page of {FILES} files, 100 connections", "request", loads, [
        Compare("page", "pypiserver", "rate", note="pypiserver at 10 connections"), Compare("page", "pypiserver", "cpu"),
        Compare("page", "nginx", "cpu", note=f"{len(page) >> 10} KiB")])


ROWS = [Row("pages", f"index page of {FILES} files, 100 connections", run, 0.6)]
