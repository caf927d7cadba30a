//! Where clients are: country and network of an address, from databases in the format of
//! `MaxMind`.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use maxminddb::{Reader, path};

use crate::config;

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Country, ISO 3166-1 alpha-2 in capitals.
    pub country: Option<[u8; 2]>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
}

/// The databases in use.
#[derive(Default)]
pub struct Geo {
    country: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
    stamps: Stamps,
}

/// What tells one version of the files from another, without reading them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<Option<(u64, u64, SystemTime)>>);

impl Stamps {
    /// Of the databases as they are now.
    pub fn of(config: &config::Geo) -> Self {
        let files = [&config.country_database, &config.asn_database];
        let stamp = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.len(), file.modified().ok()?))
        };
        let files = files.into_iter().flatten();
        Self(files.map(|path| stamp(path)).collect())
    }
}

impl Geo {
    /// Reads the databases that the configuration names.
    ///
    /// # Errors
    /// Which one cannot be read, and why.
    pub fn load(config: &config::Geo) -> Result<Self, String> {
        let open = |path: &Path| {
            Reader::open_readfile(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let stamps = Stamps::of(config);
        Ok(Self {
            country: config.country_database.as_deref().map(open).transpose()?,
            asn: config.asn_database.as_deref().map(open).transpose()?,
            stamps,
        })
    }

    /// Which versions of the databases these are.
    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// What is known of `address`.
    pub fn place(&self, address: IpAddr) -> Place {
        let country = self.country.as_ref().and_then(|reader| {
            let found = reader.lookup(address).ok()?;
            let code: &str = found.decode_path(&path!["country", "iso_code"]).ok()??;
            code.as_bytes().try_into().ok()
        });
        let asn = self.asn.as_ref().and_then(|reader| {
            let found = reader.lookup(address).ok()?;
            found.decode_path(&path!["autonomous_system_number"]).ok()?
        });
        Place { country, asn }
    }
}
