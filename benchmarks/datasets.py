"""Real things in many versions, for measuring what they take when they are stored together: got from the registries at hand, or built."""
import glob, os, re, shutil, subprocess, sys, zipfile


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def pack(folder, archive):
    """A plain tar of one file time, as a reproducible build makes it: else every header differs, and with it every chunk of small files."""
    run("tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", folder, "-cf", archive, ".")
    return archive


def two_builds(root, scratch):
    """The objects of a library that is among our dependencies, and again after one edited line, as plain tars with other file times."""
    source, builds = f"{scratch}/source", [f"{scratch}/build{number}" for number in (1, 2)]
    checkout = f"{root}/.build/checkouts/swift-nio-ssl/Sources/CNIOBoringSSL"
    if not os.path.isdir(checkout):
        raise SystemExit(f"{checkout} is not there: build first")
    shutil.copytree(checkout, source)

    def compile(path, into):
        # Those that want another machine's headers fail, in both builds alike.
        subprocess.run(["nice", "clang++", "-std=c++17", "-g", "-O0", "-fno-exceptions", f"-I{source}/include", "-c", path,
                        "-o", f"{into}/{os.path.basename(path)}.o"], stderr=subprocess.DEVNULL)
    os.mkdir(builds[0])
    for path in sorted(glob.glob(f"{source}/ssl/*.cc")):
        compile(path, builds[0])
    # The same compiler makes the same objects of the same sources: only the edited one differs.
    shutil.copytree(builds[0], builds[1])
    edited = f"{source}/ssl/ssl_lib.cc"
    text = open(edited).read()
    open(edited, "w").write(text.replace("return 1;", "return (1);  ", 1) + '\nextern "C" int granary_edit(void) { return 1; }\n')
    compile(edited, builds[1])
    run("find", builds[1], "-exec", "touch", "-d", "2001-01-01", "{}", "+")
    return [run("tar", "--sort=name", "-C", build, "-cf", f"{build}.tar", ".") or f"{build}.tar" for build in builds]


def from_pypi(scratch, project, count=20, kind="wheel"):
    """The newest `count` versions that can be had as that kind, oldest first."""
    folder = f"{scratch}/{project}-{kind}"
    os.makedirs(folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    only = "--only-binary" if kind == "wheel" else "--no-binary"
    listed = run(*pip, "index", "versions", project, stderr=subprocess.DEVNULL)
    found = []
    for version in re.search(r"Available versions: (.*)", listed).group(1).split(", "):
        before = set(os.listdir(folder))
        # Without isolation: of a source distribution pip wants to read the metadata, and would get its build tools anew each time.
        subprocess.run([*pip, "download", "--no-deps", "--no-build-isolation", only, ":all:", "-d", folder, f"{project}=={version}"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found += [f"{folder}/{name}" for name in set(os.listdir(folder)) - before]
        if len(found) >= count:
            break
    return found[::-1]


def unpacked(archives):
    """Each zip (a wheel, a jar) as a plain tar."""
    tars = []
    for path in archives:
        folder = f"{path}.unpacked"
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        tars.append(pack(folder, f"{path}.tar"))
        shutil.rmtree(folder)
    return tars


def jars(wheels):
    """The programs in Java that wheels carry."""
    found = []
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".jar"):
                    archive.extract(name, f"{path}.jars")
                    found.append(f"{path}.jars/{name}")
    return found


def from_debian(scratch, pattern, count=20):
    """Packages whose versions are part of their names, as the kernel's are: the archive keeps several of them."""
    folder = f"{scratch}/debs"
    os.makedirs(folder)
    names = sorted(re.findall(r"^(\S+) - ", run("apt-cache", "search", pattern), re.M), key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    found = []
    for name in names[-count:]:
        if subprocess.run(["apt-get", "-qq", "download", name], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            found += glob.glob(f"{folder}/{name}_*.deb")
    return found


def opened(debs):
    """Each package's files as a plain tar."""
    for path in debs:
        with open(f"{path}.tar", "wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", path], stdout=file, check=True)
    return [f"{path}.tar" for path in debs]


def images(scratch, applications, dependencies):
    """What pushing consecutive images stores, layer by layer: a base in each, dependencies that change now and then, an application that always does.
    As plain tars, and by gzip as builders push them. Images of a registry cannot be had here: these are made of the packages at hand."""
    folder = f"{scratch}/base"
    os.makedirs(folder)
    for package in ("libc6", "coreutils", "bash", "perl-base"):
        subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for deb in glob.glob(f"{folder}/*.deb"):
        run("dpkg", "-x", deb, f"{folder}/root")
    base, plain, zipped = pack(f"{folder}/root", f"{folder}/base.tar"), [], {}
    for number, application in enumerate(applications):
        # Every fifth image has newer dependencies.
        plain += [base, dependencies[min(number // 5 * 5, len(dependencies) - 1)], application]
    for path in plain:
        if path not in zipped:
            zipped[path] = f"{path}.gz"
            with open(zipped[path], "wb") as file:
                subprocess.run(["gzip", "-nc", path], stdout=file, check=True)
    return plain, [zipped[path] for path in plain]


def all_sets(root, scratch):
    """(name, files in the order they are stored); each is made when it is its turn, and is there as long as the scratch folder."""
    builds = two_builds(root, scratch)
    yield "two builds, plain tar", builds
    for path in builds:
        run("zstd", "-3", "-q", path, "-o", f"{path}.zst")
    yield "two builds, tar.zst", [f"{path}.zst" for path in builds]
    yield from packages(scratch)


def packages(scratch):
    pure, native = from_pypi(scratch, "pip"), from_pypi(scratch, "cryptography")
    pure_open, native_open = unpacked(pure), unpacked(native)
    yield "wheels, pure (pip)", pure
    yield "the same, unpacked into tars", pure_open
    yield "wheels, native (cryptography)", native
    yield "the same, unpacked into tars", native_open
    yield "sdists, tar.gz (sympy)", from_pypi(scratch, "sympy", kind="sdist")
    java = jars(from_pypi(scratch, "tabula-py"))
    yield "jars (in tabula-py)", java
    debs = from_debian(scratch, "^linux-headers-6.1.0-.*-common$")
    yield "debs (linux-headers-common)", debs
    yield "the same, opened into tars", opened(debs)
    plain, zipped = images(scratch, pure_open, native_open)
    yield "image layers, plain tar", plain
    yield "image layers, tar.gz", zipped
