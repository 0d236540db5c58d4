//! `nginx`, `httpd` and `redis`: Debian's programs, started as the official images start theirs (an
//! entrypoint script, in the foreground, logs on stdout and stderr, the stop signal each expects).

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Kitchen, base, strings, write_single};
use crate::oci::{Compression, Image, Layer};
use crate::tree::{Content, Tree};

/// Runs what it is given; the place where official images prepare things.
const PLAIN_ENTRYPOINT: &str = "#!/bin/sh\nset -e\nexec \"$@\"\n";

fn with_base(names: &[&str]) -> Result<Vec<String>> {
    let mut all = base::packages()?;
    all.extend(strings(names));
    Ok(all)
}

/// Libraries and programs out of a package: no documentation, no service files.
fn is_runtime_file(path: &str) -> bool {
    const LEFT_OUT: [&str; 7] = [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/lintian",
        "usr/share/bug",
        "lib/systemd",
        "etc/init.d",
        "usr/share/locale",
    ];
    !LEFT_OUT
        .iter()
        .any(|folder| path == *folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

fn unpack(kitchen: &Kitchen, names: &[&str]) -> Result<Tree> {
    let mut tree = Tree::default();
    for name in names {
        tree.take(&kitchen.packages.tree(name)?, is_runtime_file);
    }
    Ok(tree)
}

fn write(kitchen: &Kitchen, folder: &Path, name: &str, layers: Vec<Layer>, config: Value) -> Result<()> {
    let mut all = vec![base::layer(kitchen)?];
    all.extend(layers);
    let image = Image { architecture: kitchen.architecture.oci.into(), variant: None, layers: all, config };
    write_single(folder, name, &image)
}

const NGINX: [&str; 6] = ["libcrypt1", "libpcre2-8-0", "libssl3", "nginx", "nginx-common", "zlib1g"];

pub(super) fn nginx_packages() -> Result<Vec<String>> {
    with_base(&NGINX)
}

/// As the official image: nginx in the foreground, quit gracefully by SIGQUIT.
pub(super) fn make_nginx(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let program = unpack(kitchen, &NGINX)?;
    let mut settings = Tree::default();
    settings.symlink("var/log/nginx/access.log", "/dev/stdout");
    settings.symlink("var/log/nginx/error.log", "/dev/stderr");
    settings.symlink("etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default");
    settings.directory("var/lib/nginx");
    settings
        .file("var/www/html/index.html", "<html><body><h1>Welcome to nginx in a pod!</h1></body></html>\n");
    settings.program("docker-entrypoint.sh", PLAIN_ENTRYPOINT);
    let layers = vec![Layer::new(&program, Compression::Gzip)?, Layer::new(&settings, Compression::Gzip)?];
    let config = json!({
        "Env": [base::PATH, "NGINX_VERSION=1.22.1"],
        "Entrypoint": ["/docker-entrypoint.sh"],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "ExposedPorts": { "80/tcp": {} },
        "StopSignal": "SIGQUIT",
        "Labels": { "maintainer": "the podrun developers" },
    });
    write(kitchen, folder, "nginx", layers, config)
}

const HTTPD: [&str; 7] =
    ["apache2-bin", "libapr1", "libaprutil1", "libcrypt1", "libexpat1", "libpcre2-8-0", "libuuid1"];

pub(super) fn httpd_packages() -> Result<Vec<String>> {
    with_base(&HTTPD)
}

const HTTPD_CONF: &str = "\
ServerName localhost
ServerRoot /usr/lib/apache2
PidFile /run/httpd.pid
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule dir_module modules/mod_dir.so
LoadModule mime_module modules/mod_mime.so
TypesConfig /etc/mime.types
User www-data
Group www-data
Listen 80
DocumentRoot /usr/local/apache2/htdocs
DirectoryIndex index.html
<Directory /usr/local/apache2/htdocs>
    Require all granted
</Directory>
ErrorLog /proc/self/fd/2
";

/// As the official image: stops gracefully on SIGWINCH. Its own layer is stored with zstd.
pub(super) fn make_httpd(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let wanted = ["event", "authz_core", "dir", "mime"].map(|name| match name {
        "event" => "usr/lib/apache2/modules/mod_mpm_event.so".to_owned(),
        other => format!("usr/lib/apache2/modules/mod_{other}.so"),
    });
    let mut tree = Tree::default();
    tree.take(&unpack(kitchen, &HTTPD)?, |path| {
        !path.starts_with("usr/lib/apache2/modules/") || wanted.iter().any(|module| module == path)
    });
    tree.file("etc/apache2/httpd.conf", HTTPD_CONF);
    tree.file("etc/mime.types", "text/html html htm\ntext/plain txt\n");
    tree.file("usr/local/apache2/htdocs/index.html", "<html><body><h1>It works!</h1></body></html>\n");
    tree.program(
        "usr/local/bin/httpd-foreground",
        "#!/bin/sh\nset -e\nrm -f /run/httpd.pid\nexec apache2 -DFOREGROUND -f /etc/apache2/httpd.conf \"$@\"\n",
    );
    let config = json!({
        "Env": [base::PATH, "HTTPD_PREFIX=/usr/local/apache2"],
        "Cmd": ["httpd-foreground"],
        "WorkingDir": "/usr/local/apache2",
        "ExposedPorts": { "80/tcp": {} },
        "StopSignal": "SIGWINCH",
    });
    write(kitchen, folder, "httpd", vec![Layer::new(&tree, Compression::Zstd)?], config)
}

const REDIS: [&str; 16] = [
    "libatomic1",
    "libcap-ng0",
    "libcap2",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libjemalloc2",
    "liblz4-1",
    "liblzf1",
    "liblzma5",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
    "redis-tools",
    "zlib1g",
];

pub(super) fn redis_packages() -> Result<Vec<String>> {
    let mut all = with_base(&REDIS)?;
    all.extend(strings(&["redis-server", "util-linux"]));
    Ok(all)
}

/// Started as root it hands /data to redis and becomes redis, as the official image's script does.
const REDIS_ENTRYPOINT: &str = "\
#!/bin/sh
set -e
if [ \"${1#-}\" != \"$1\" ] || [ \"${1%.conf}\" != \"$1\" ]; then
    set -- redis-server \"$@\"
fi
if [ \"$1\" = redis-server ] && [ \"$(id -u)\" = 0 ]; then
    find . \\! -user redis -exec chown redis '{}' +
    exec /usr/bin/setpriv --reuid=redis --regid=redis --clear-groups -- \"$0\" \"$@\"
fi
exec \"$@\"
";

/// As the official image: data in the volume /data, protected mode off inside the pod.
pub(super) fn make_redis(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let mut program = unpack(kitchen, &REDIS)?;
    // busybox has a setpriv of its own at this path, without --reuid.
    program.take(&kitchen.packages.tree("redis-server")?, |path| path == "usr/bin/redis-server");
    program.take(&kitchen.packages.tree("util-linux")?, |path| path == "usr/bin/setpriv");
    let mut settings = Tree::default();
    let mut users = Tree::default();
    base::users(kitchen, &mut users)?;
    for (path, line) in [("etc/passwd", "redis:x:999:999::/data:/bin/sh\n"), ("etc/group", "redis:x:999:\n")]
    {
        if let Some(Content::File(bytes)) = users.get(path).map(|node| &node.content) {
            settings.file(path, [bytes.as_slice(), line.as_bytes()].concat());
        }
    }
    let data = settings.directory("data");
    (data.uid, data.gid) = (999, 999);
    settings.program("usr/local/bin/docker-entrypoint.sh", REDIS_ENTRYPOINT);
    let layers = vec![Layer::new(&program, Compression::Gzip)?, Layer::new(&settings, Compression::Gzip)?];
    let config = json!({
        "Env": [base::PATH, "REDIS_VERSION=7.0.15"],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["redis-server", "--protected-mode", "no", "--bind", "*", "-::*"],
        "WorkingDir": "/data",
        "Volumes": { "/data": {} },
        "ExposedPorts": { "6379/tcp": {} },
    });
    write(kitchen, folder, "redis", layers, config)
}
