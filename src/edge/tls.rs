//! Certificates of a TLS listener: read at start, read again on reload.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::TlsSettings;
use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
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

    /// Settings of a listener that presents this certificate and offers HTTP/2. With `client_ca`, clients must have
    /// a certificate of one of the authorities in that file.
    ///
    /// # Errors
    /// Which file cannot be used, or what Pingora refuses.
    pub fn settings(self: &Arc<Self>, client_ca: Option<&Path>) -> Result<TlsSettings, String> {
        let mut settings = TlsSettings::intermediate("", "").map_err(|error| error.to_string())?;
        settings.set_cert_resolver(self.clone());
        settings.enable_h2();
        if let Some(file) = client_ca {
            let verifier = verifier(file).map_err(|why| format!("{}: {why}", file.display()))?;
            settings.set_client_cert_verifier(verifier);
        }
        Ok(settings)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Without a certificate in the file this is an error.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| error.to_string())
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
