//! An authority of a test's own, and what it signs: openssl makes them in the test's folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::host::Host;

/// The name that the servers' certificates are for, beside the loopback's addresses.
pub const SERVER: &str = "registry.test";

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    /// Its own certificate.
    pub certificate: PathBuf,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority whose files lie in the folder `name` of the host's.
    pub fn new(host: &Host, name: &str) -> Result<Self> {
        let folder = host.file(name);
        std::fs::create_dir_all(&folder)?;
        let own = "[req]\ndistinguished_name = name\nx509_extensions = own\n[name]\n[own]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign\nsubjectKeyIdentifier = hash\n";
        std::fs::write(folder.join("own.cnf"), own)?;
        let this = Self { certificate: folder.join("ca.crt"), folder };
        this.openssl(&format!(
            "req -x509 -config own.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout ca.key -out ca.crt"
        ))?;
        Ok(this)
    }

    /// A server's certificate, for [`SERVER`] and the loopback.
    pub fn server(&self) -> Result<Pair> {
        self.sign(
            "server",
            &format!("subjectAltName = DNS:{SERVER}, IP:127.0.0.1, IP:::1\nextendedKeyUsage = serverAuth\n"),
        )
    }

    /// A server's certificate for another name.
    pub fn stranger(&self) -> Result<Pair> {
        self.sign("stranger", "subjectAltName = DNS:elsewhere.test\nextendedKeyUsage = serverAuth\n")
    }

    /// A client's certificate.
    pub fn client(&self) -> Result<Pair> {
        self.sign("client", "extendedKeyUsage = clientAuth\n")
    }

    fn sign(&self, name: &str, extensions: &str) -> Result<Pair> {
        std::fs::write(self.folder.join("extensions"), extensions)?;
        self.openssl(&format!(
            "req -new -config own.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ))?;
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.crt"
        ))?;
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        Ok(Pair { certificate: file("crt"), key: file("key") })
    }

    fn openssl(&self, line: &str) -> Result<()> {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output =
            Command::new("openssl").args(&arguments).current_dir(&self.folder).output().context("openssl")?;
        ensure!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
