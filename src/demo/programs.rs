//! The programs of the demonstration: three web servers, three real servers, a director.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::cables::{DemoReal, FAMILIES, REALS};
use super::namespaces::{FOLDER, sibling};
use super::process::DemoProcess;
use super::traffic;
use crate::netns::{self, at};

/// Temporary folders that nginx needs at its start, even if unused.
const NGINX_TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

#[derive(Debug, Default)]
pub(super) struct DemoPrograms {
    daemons: Vec<DemoProcess>,
    web_servers: Vec<DemoProcess>,
}

impl DemoPrograms {
    pub(super) fn start_real_servers(&mut self) -> Result<()> {
        for DemoReal { name, .. } in REALS {
            let mut web = DemoProcess::start(&format!("{name}-web"), &mut web_server(name)?)?;
            web.wait_until(|| {
                let answers = |host| succeeds(at(name, "curl").args(["-fsS", host]));
                answers("http://127.0.0.1/") && answers("http://[::1]/")
            })?;
            self.web_servers.push(web);
            let socket = socket(name);
            let mut command = at(name, sibling("vstun-realserver")?);
            command.arg("--vip").args(FAMILIES.map(|family| family.vip));
            command.arg("--director").args(FAMILIES.map(|family| family.director));
            let daemon = DemoProcess::start(name, command.arg("--control").arg(&socket))?;
            self.daemons.push(ready(daemon, &socket)?);
        }
        Ok(())
    }

    pub(super) fn start_director(&mut self) -> Result<()> {
        let path = Path::new(FOLDER).join("director.toml");
        fs::write(&path, configuration()).context("cannot write the director's configuration")?;
        let mut command = at("director", sibling("vstun-director")?);
        let daemon = DemoProcess::start("director", command.arg("--config").arg(path))?;
        self.daemons.push(ready(daemon, &socket("director"))?);
        Ok(())
    }

    /// Stops everything, the director first.
    pub(super) fn stop(mut self) -> Result<()> {
        while let Some(daemon) = self.daemons.pop() {
            daemon.stop()?;
        }
        Ok(())
    }
}

/// A daemon is ready when it answers at its control socket.
fn ready(mut daemon: DemoProcess, socket: &Path) -> Result<DemoProcess> {
    let vstun = sibling("vstun")?;
    daemon
        .wait_until(|| succeeds(Command::new(&vstun).arg("--socket").arg(socket).arg("stats")))?;
    Ok(daemon)
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The control socket of the host's daemon.
pub(super) fn socket(host: &str) -> PathBuf {
    PathBuf::from(format!("/run/vstun/{host}.sock"))
}

fn configuration() -> String {
    let listens = FAMILIES.map(|family| format!("\"{}:80/tcp\"", family.host()));
    let mut text = format!(
        "[director]\ncontrol = \"{}\"\n\n\
         [[service]]\nname = \"web\"\nlisten = [{}]\nscheduler = \"wrr\"\n",
        socket("director").display(),
        listens.join(", ")
    );
    for real in REALS {
        let (address, weight) = (real.address(), real.weight);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[service.real]]\naddress = \"{address}\"\nweight = {weight}\n");
    }
    text
}

/// The host's web server: its name at `/`, and the large file. nginx, or Python's server if nginx
/// is missing.
fn web_server(name: &str) -> Result<Command> {
    let root = Path::new(FOLDER).join(name);
    fs::create_dir_all(root.join("temporary")).context("cannot make a web server's folder")?;
    fs::write(root.join("index.html"), format!("{name}\n")).context("cannot write a web page")?;
    traffic::write_large_file(&root)?;
    if netns::find("nginx").is_some() {
        let file = root.join("nginx.conf");
        fs::write(&file, nginx_configuration(&root))
            .context("cannot write nginx's configuration")?;
        let mut command = at(name, "nginx");
        command.args(["-e", "stderr", "-p"]).arg(&root).arg("-c").arg(file);
        return Ok(command);
    }
    let mut command = at(name, "python3");
    // At `::` Python accepts IPv4 too.
    command.args(["-m", "http.server", "80", "--bind", "::", "--directory"]).arg(root);
    Ok(command)
}

fn nginx_configuration(root: &Path) -> String {
    let root = root.display();
    let mut text = format!(
        "daemon off; master_process off; user root root; error_log stderr error; \
         pid {root}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n access_log off; sendfile on;\n \
         server {{ listen 80; listen [::]:80; root {root}; }}\n"
    );
    for kind in NGINX_TEMPORARY {
        let _ = writeln!(text, " {kind}_temp_path {root}/temporary/{kind};");
    }
    text + "}\n"
}
