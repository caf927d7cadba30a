//! `listen` and `[admin]`: where clients and operators connect.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::reader::{Located, Section, StringOrSection};
use super::{Listener, TlsFiles};

pub(super) fn read_listeners(root: &Section<'_>) -> Vec<Located<Listener>> {
    let items = root.strings_or_sections("listen");
    if items.as_ref().is_none_or(Vec::is_empty) {
        let help = "write `listen = [\"[::]:${PORT:-8080}\"]` at the top".to_owned();
        root.reader.fault(
            root.place_of("listen"),
            "`listen` names no address",
            Some(help),
        );
    }
    items
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| match item {
            StringOrSection::String(text) => {
                let span = text.span.clone();
                let address = read_address(root, "listen", text)?;
                Some(Located {
                    value: Listener {
                        address,
                        tls: None,
                        client_ca: None,
                    },
                    span,
                })
            }
            StringOrSection::Section(section) => read_tls_listener(section),
        })
        .collect()
}

fn read_tls_listener(section: Section<'_>) -> Option<Located<Listener>> {
    let span = section.span.clone();
    let address = section
        .required_string("address", "\"[::]:8443\"")
        .and_then(|text| read_address(&section, "address", text));
    let mut client_ca = None;
    let tls = section.section("tls").map(|tls| {
        client_ca = tls
            .string("client_ca")
            .map(|path| PathBuf::from(path.value));
        let certificate = tls.required_string("certificate", "\"/etc/seawall/fullchain.pem\"");
        let key = tls.required_string("key", "\"/etc/seawall/privkey.pem\"");
        tls.finish();
        certificate.zip(key).map(|(certificate, key)| TlsFiles {
            certificate: PathBuf::from(certificate.value),
            key: PathBuf::from(key.value),
        })
    });
    section.finish();
    // A `tls` that could not be read must not become cleartext.
    let tls = match tls {
        Some(files) => Some(files?),
        None => None,
    };
    Some(Located {
        value: Listener {
            address: address?,
            tls,
            client_ca,
        },
        span,
    })
}

pub(super) fn read_admin(root: &Section<'_>) -> Option<Located<SocketAddr>> {
    let admin = root.section_or(
        "admin",
        "write `[admin]` and below it `listen = \"127.0.0.1:9090\"`",
    )?;
    let listen = admin.required_string("listen", "\"127.0.0.1:9090\"");
    let address = listen.and_then(|text| {
        let span = text.span.clone();
        let value = read_address(&admin, "listen", text)?;
        Some(Located { value, span })
    });
    admin.finish();
    address
}

fn read_address(section: &Section<'_>, key: &str, text: Located<String>) -> Option<SocketAddr> {
    // Names are left out: an address to listen on has to be one of this machine's.
    let literal = match text.value.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.value.clone(),
    };
    let address = literal.parse().ok().or_else(|| {
        let port_alone = literal.strip_prefix(':')?;
        format!("[::]:{port_alone}").to_socket_addrs().ok()?.next()
    });
    if address.is_none() {
        let message = format!("`{key} = \"{}\"` is not an address with a port", text.value);
        let help = "write for example \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned();
        section.reader.fault(text.span, message, Some(help));
    }
    address
}
