//! Certificates of a TLS listener: read at start, read again on reload.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::TlsSettings;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::TlsFiles;

/// The certificate a listener presents now.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Reads `files`.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(read(files)?),
        }))
    }

    /// Reads `files` again; on an error the certificate stays.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), String> {
        self.current.store(Arc::new(read(files)?));
        Ok(())
    }

    /// Settings of a listener that presents this certificate and offers HTTP/2.
    ///
    /// # Errors
    /// What Pingora refuses.
    pub fn settings(self: &Arc<Self>) -> Result<TlsSettings, String> {
        let mut settings = TlsSettings::intermediate("", "").map_err(|error| error.to_string())?;
        settings.set_cert_resolver(self.clone());
        settings.enable_h2();
        Ok(settings)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, String> {
    let certificate_file = files.certificate.display();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{certificate_file}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate_file}: holds no certificate"));
    }
    let key_file = files.key.display();
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| format!("{key_file}: {error}"))?;
    let key = any_supported_type(&key).map_err(|error| format!("{key_file}: {error}"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(error) => Err(format!("{certificate_file} and {key_file}: {error}")),
    }
}
