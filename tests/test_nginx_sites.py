"""The files in nginx/: each alone, in Debian's own nginx.conf, and with Brotli's module."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import NGINX, ROOT, edit, nginx_files, serving
from tests.through_nginx import ask, tls_edits

SITE_FILES = sorted(path.name for path in (ROOT / "nginx").glob("numdraw*.conf"))
DEBIAN = Path("/etc/nginx/nginx.conf")
MODULES = Path("/usr/lib/nginx/modules")
BROTLI = MODULES / "ngx_http_brotli_filter_module.so"


def test_every_site_file_is_known() -> None:
    assert SITE_FILES == ["numdraw-hosts.conf", "numdraw-tls.conf", "numdraw.conf"]


@pytest.mark.parametrize("site_file", SITE_FILES)
def test_nginx_finds_no_fault_in_its_files(site_file: str, tmp_path: Path) -> None:
    written(site_file, tmp_path)
    assert faults(tmp_path) == ""


@pytest.mark.parametrize("site_file", SITE_FILES)
def test_nginx_finds_no_fault_in_them_inside_debian_s_own(site_file: str, tmp_path: Path) -> None:
    if not DEBIAN.exists():
        pytest.skip(f"this is not Debian's nginx: there is no {DEBIAN}")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "log").mkdir()
    written(site_file, tmp_path)
    (tmp_path / "numdraw.conf").rename(tmp_path / "conf.d" / "numdraw.conf")
    (tmp_path / "mime.types").write_bytes(DEBIAN.with_name("mime.types").read_bytes())
    main = DEBIAN.read_text()
    ours = (tmp_path / "nginx.conf").read_text()
    temporary = "\n".join(re.findall(r"^ *\w+_temp_path .*;", ours, re.MULTILINE))
    for old, new in {
        "include /etc/nginx/modules-enabled/*.conf;": "",
        "include /etc/nginx/sites-enabled/*;": "",
        "user www-data;": "",  # to anybody but root it is a warning
        "/etc/nginx/": "",
        "/run/nginx.pid": "nginx.pid",
        "/var/log/nginx": "log",
        "http {": f"http {{\n{temporary}",
    }.items():
        assert old in main
        main = main.replace(old, new)
    (tmp_path / "nginx.conf").write_text(main)
    site = tmp_path / "conf.d" / "numdraw.conf"
    logged = site.read_text().replace("access_log off;", access_log(tmp_path / "log", site_file))
    site.write_text(logged)
    assert faults(tmp_path) == ""
    assert (tmp_path / "log" / "numdraw.log").exists()


@pytest.mark.parametrize("site_file", SITE_FILES)
def test_gixy_finds_no_fault_in_the_configuration(site_file: str, tmp_path: Path) -> None:
    pytest.importorskip("gixy", reason="gixy is not installed: pip install gixy-ng")
    written(site_file, tmp_path)
    with_brotli(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "gixy", "-f", "json", "nginx.conf"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert json.loads(done.stdout) == [], done.stdout
    assert done.returncode == 0, done.stderr


def test_the_values_of_a_site_may_hold_blanks(tmp_path: Path) -> None:
    folder = tmp_path / "a & b|c"
    folder.mkdir()
    nginx_files(folder, "127.0.0.1:8081", folder / "public")
    text = (folder / "numdraw.conf").read_text()
    assert re.findall(r"^ *listen .*;", text, re.MULTILINE) == ["    listen 127.0.0.1:8081;"]
    assert f'    root "{folder}/public";' in text
    assert text.count(f'    server "unix:{folder}/numdraw.sock" max_fails=0;') == 2
    assert "    access_log off;" in text


def test_the_site_files_share_what_is_not_theirs() -> None:
    one, tls, hosts = ((ROOT / "nginx" / name).read_text() for name in reversed(SITE_FILES))
    for block in (r"geo .*?^}", r"upstream .*?^}"):
        found = [re.findall(block, text, re.MULTILINE | re.DOTALL) for text in (one, tls, hosts)]
        assert found[0] == found[1] != []
        if block.startswith("geo"):
            assert found[0] == found[2]


def test_brotli_packs_where_its_module_is_and_gzip_stays(tmp_path: Path) -> None:
    needs_brotli(tmp_path)
    pages = tmp_path / "public"
    pages.mkdir()
    (pages / "index.html").write_text("<p>one and another</p>" * 200)
    edits = {
        "pid    nginx.pid;": f"pid nginx.pid;\nload_module {BROTLI};",
        "# include numdraw/brotli.conf;": "include numdraw/brotli.conf;",
    }
    with serving(public=pages, app=[], edits=edits) as site:
        found = {
            accepted: ask(site, "GET", "/", Accept_Encoding=accepted)
            for accepted in ("br, gzip", "gzip", "identity")
        }
    codings = [answer.header("Content-Encoding") for answer in found.values()]
    assert codings == ["br", "gzip", None]
    assert {answer.header("Vary") for answer in found.values()} == {"Accept-Encoding"}
    plain = found["identity"].header("ETag")
    assert found["br, gzip"].header("ETag") == f"W/{plain}"


def test_nginx_finds_no_fault_in_brotli_s_file(tmp_path: Path) -> None:
    needs_brotli(tmp_path)
    written("numdraw.conf", tmp_path)
    with_brotli(tmp_path)
    edit(tmp_path, {"pid    nginx.pid;": f"pid nginx.pid;\nload_module {BROTLI};"})
    assert faults(tmp_path) == ""


def written(site_file: str, folder: Path) -> None:
    """Write a site's files, with a certificate for the one that needs it."""
    nginx_files(folder, "127.0.0.1:8080", ROOT / "public", site_file)
    if site_file == "numdraw-tls.conf":
        edit(folder, tls_edits(folder, 8443))


def with_brotli(folder: Path) -> None:
    edit(folder, {"# include numdraw/brotli.conf;": "include numdraw/brotli.conf;"})


def access_log(folder: Path, site_file: str) -> str:
    """The line that the site's file has for it, into another folder."""
    text = (ROOT / "nginx" / site_file).read_text()
    line, *others = re.findall(r"access_log /var/log/nginx/.*;  # SITE", text)
    assert set(others) <= {line}
    return str(line).replace("/var/log/nginx", str(folder)).removesuffix("  # SITE")


def faults(folder: Path) -> str:
    """What nginx -t has to say against the files."""
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    done = subprocess.run(
        [NGINX, "-t", "-e", "stderr", "-p", f"{folder}/", "-c", folder / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    quiet = done.returncode == 0 and not re.search(r"\[(warn|error|emerg|alert)\]", done.stderr)
    return "" if quiet else done.stderr


def needs_brotli(folder: Path) -> None:
    if NGINX is None or not BROTLI.exists():
        pytest.skip("nginx has no Brotli: apt-get install libnginx-mod-http-brotli-filter")
    alone = folder / "brotli.conf"
    alone.write_text(f"load_module {BROTLI}; pid nginx.pid; events {{}}")
    command = [NGINX, "-t", "-e", "stderr", "-p", f"{folder}/", "-c", str(alone)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{BROTLI} is another nginx's: {NGINX} can't load it")
