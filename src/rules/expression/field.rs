//! The field table: which fields there are, what they are called, of which type they are and what
//! they say.
//!
//! A new field is a variant, a row in [`FIELDS`] and an arm in [`super::read`].

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Ip,
    String,
    /// An array of strings.
    Array,
    /// A map from strings to arrays of strings.
    Map,
}

impl Type {
    /// The type's name, with its article.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Ip => "an IP address",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }

    /// The type's name in a listing.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "Boolean",
            Self::Int => "Integer",
            Self::Ip => "IP address",
            Self::String => "String",
            Self::Array => "Array<String>",
            Self::Map => "Map<Array<String>>",
        }
    }
}

/// A field, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Bool(BoolField),
    Int(IntField),
    Ip(IpField),
    String(StringField),
    Array(ArrayField),
    Map(MapField),
}

impl Field {
    /// The field with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        FIELDS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.field)
    }

    /// The field's type.
    pub(super) const fn ty(self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Ip(_) => Type::Ip,
            Self::String(_) => Type::String,
            Self::Array(_) => Type::Array,
            Self::Map(_) => Type::Map,
        }
    }

    /// Whether the field tells of the response, so that it has no value before there is one.
    pub(super) const fn is_of_response(self) -> bool {
        matches!(
            self,
            Self::Int(IntField::ResponseCode)
                | Self::String(StringField::MediaType)
                | Self::Map(MapField::ResponseHeaders)
                | Self::Array(
                    ArrayField::Names(MapField::ResponseHeaders)
                        | ArrayField::Values(MapField::ResponseHeaders)
                )
        )
    }
}

/// The names of all fields.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    FIELDS.iter().map(|row| row.name)
}

/// The name of a field; of several the latest.
pub(super) fn name_of(field: Field) -> &'static str {
    let rows = FIELDS.iter().rev();
    rows.filter(|row| row.field == field)
        .map(|row| row.name)
        .next()
        .unwrap_or_default()
}

/// A field as documentation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Its name.
    pub name: &'static str,
    /// Its type, as Cloudflare writes it.
    pub type_name: &'static str,
    /// What it says, in one line.
    pub description: &'static str,
}

/// All fields, by name.
pub fn fields() -> impl Iterator<Item = FieldInfo> {
    FIELDS.iter().map(|row| FieldInfo {
        name: row.name,
        type_name: row.field.ty().name(),
        description: row.description,
    })
}

struct Row {
    name: &'static str,
    field: Field,
    description: &'static str,
}

const fn row(name: &'static str, field: Field, description: &'static str) -> Row {
    Row {
        name,
        field,
        description,
    }
}

const FIELDS: &[Row] = &[
    row(
        "cf.client.bot",
        Field::Bool(BoolField::VerifiedBot),
        "Cloudflare's name of `seawall.verified_bot`",
    ),
    row(
        "http.cookie",
        Field::String(StringField::Cookie),
        "all Cookie lines, joined by `; `; empty without one",
    ),
    row(
        "http.host",
        Field::String(StringField::Host),
        "the host asked for, in lower case, without a port",
    ),
    row(
        "http.referer",
        Field::String(StringField::Referer),
        "the Referer; empty without one",
    ),
    row(
        "http.request.accepted_languages",
        Field::Array(ArrayField::AcceptedLanguages),
        "the languages of Accept-Language in lower case, the heaviest first",
    ),
    row(
        "http.request.body.size",
        Field::Int(IntField::BodySize),
        "length of the body in bytes; no value where it is not announced",
    ),
    row(
        "http.request.cookies",
        Field::Map(MapField::Cookies),
        "cookies by name, as sent",
    ),
    row(
        "http.request.cookies.names",
        Field::Array(ArrayField::Names(MapField::Cookies)),
        "the name of every cookie",
    ),
    row(
        "http.request.full_uri",
        Field::String(StringField::FullUri),
        "scheme, host, path and query",
    ),
    row(
        "http.request.headers",
        Field::Map(MapField::Headers),
        "header lines by name in lower case",
    ),
    row(
        "http.request.headers.names",
        Field::Array(ArrayField::Names(MapField::Headers)),
        "the name of every header line, in lower case",
    ),
    row(
        "http.request.headers.values",
        Field::Array(ArrayField::Values(MapField::Headers)),
        "the value of every header line",
    ),
    row(
        "http.request.method",
        Field::String(StringField::Method),
        "the method, such as `GET`",
    ),
    row(
        "http.request.timestamp.sec",
        Field::Int(IntField::Timestamp),
        "when the request arrived, in seconds since 1970",
    ),
    row(
        "http.request.uri",
        Field::String(StringField::Uri),
        "path and query",
    ),
    row(
        "http.request.uri.args",
        Field::Map(MapField::Args),
        "query arguments by name; neither names nor values are decoded",
    ),
    row(
        "http.request.uri.args.names",
        Field::Array(ArrayField::Names(MapField::Args)),
        "the name of every query argument",
    ),
    row(
        "http.request.uri.args.values",
        Field::Array(ArrayField::Values(MapField::Args)),
        "the value of every query argument",
    ),
    row(
        "http.request.uri.path",
        Field::String(StringField::Path),
        "the path, in canonical form",
    ),
    row(
        "http.request.uri.path.extension",
        Field::String(StringField::PathExtension),
        "what follows the last dot of the last path segment, in lower case; may be empty",
    ),
    row(
        "http.request.uri.query",
        Field::String(StringField::Query),
        "the query without its `?`; empty without one",
    ),
    row(
        "http.request.version",
        Field::String(StringField::Version),
        "`HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`",
    ),
    row(
        "http.response.code",
        Field::Int(IntField::ResponseCode),
        "the response's status",
    ),
    row(
        "http.response.content_type.media_type",
        Field::String(StringField::MediaType),
        "the response's Content-Type in lower case, without parameters; empty without one",
    ),
    row(
        "http.response.headers",
        Field::Map(MapField::ResponseHeaders),
        "the response's header lines by name in lower case",
    ),
    row(
        "http.response.headers.names",
        Field::Array(ArrayField::Names(MapField::ResponseHeaders)),
        "the name of every header line of the response, in lower case",
    ),
    row(
        "http.response.headers.values",
        Field::Array(ArrayField::Values(MapField::ResponseHeaders)),
        "the value of every header line of the response",
    ),
    row(
        "http.user_agent",
        Field::String(StringField::UserAgent),
        "the User-Agent; empty without one",
    ),
    row(
        "http.x_forwarded_for",
        Field::String(StringField::XForwardedFor),
        "all X-Forwarded-For lines, joined by `, `; empty without one",
    ),
    row(
        "ip.geoip.asnum",
        Field::Int(IntField::Asn),
        "an older name of `ip.src.asnum`",
    ),
    row(
        "ip.geoip.continent",
        Field::String(StringField::Continent),
        "an older name of `ip.src.continent`",
    ),
    row(
        "ip.geoip.country",
        Field::String(StringField::Country),
        "an older name of `ip.src.country`",
    ),
    row(
        "ip.geoip.is_in_european_union",
        Field::Bool(BoolField::InEuropeanUnion),
        "an older name of `ip.src.is_in_european_union`",
    ),
    row(
        "ip.src",
        Field::Ip(IpField::Client),
        "the client's address; an IPv4 address within IPv6 counts as IPv4",
    ),
    row(
        "ip.src.asnum",
        Field::Int(IntField::Asn),
        "number of the client's autonomous system; 0 where it is not known",
    ),
    row(
        "ip.src.continent",
        Field::String(StringField::Continent),
        "`AF`, `AN`, `AS`, `EU`, `NA`, `OC` or `SA`; empty where the country is not known",
    ),
    row(
        "ip.src.country",
        Field::String(StringField::Country),
        "the client's country (ISO 3166-1 alpha-2), such as `DE`; empty where it is not known",
    ),
    row(
        "ip.src.is_in_european_union",
        Field::Bool(BoolField::InEuropeanUnion),
        "whether the client's country is a member of the European Union",
    ),
    row(
        "raw.http.request.full_uri",
        Field::String(StringField::RawFullUri),
        "`http.request.full_uri` before rules rewrote path or query",
    ),
    row(
        "raw.http.request.uri",
        Field::String(StringField::RawUri),
        "`http.request.uri` before rules rewrote it",
    ),
    row(
        "raw.http.request.uri.path",
        Field::String(StringField::RawPath),
        "`http.request.uri.path` before rules rewrote it",
    ),
    row(
        "raw.http.request.uri.query",
        Field::String(StringField::RawQuery),
        "`http.request.uri.query` before rules rewrote it",
    ),
    row(
        "seawall.device_class",
        Field::String(StringField::DeviceClass),
        "`mobile`, `tablet` or `desktop`, as the key sees it",
    ),
    row(
        "seawall.request.has_body",
        Field::Bool(BoolField::HasBody),
        "whether the request announces a body",
    ),
    row(
        "seawall.session_cookie",
        Field::Bool(BoolField::SessionCookie),
        "whether a cookie's name is one of the zone's session cookies",
    ),
    row(
        "seawall.splits",
        Field::Map(MapField::Splits),
        "the variants that splits chose, by name of the split: `seawall.splits[\"checkout\"][0]`",
    ),
    row(
        "seawall.verified_bot",
        Field::Bool(BoolField::VerifiedBot),
        "whether the request is of one of the `verified_bots`, by its address and not by what it says alone",
    ),
    row(
        "ssl",
        Field::Bool(BoolField::Ssl),
        "whether the client's connection uses TLS",
    ),
];

/// A field which is true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoolField {
    Ssl,
    SessionCookie,
    HasBody,
    InEuropeanUnion,
    VerifiedBot,
}

/// A field which is an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntField {
    BodySize,
    Timestamp,
    Asn,
    ResponseCode,
}

/// A field which is an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpField {
    Client,
}

/// A field which is a string. Each of the request has a value for every request: a header field
/// which was not sent reads as the empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StringField {
    Host,
    Method,
    Version,
    FullUri,
    Uri,
    Path,
    PathExtension,
    Query,
    RawFullUri,
    RawUri,
    RawPath,
    RawQuery,
    Cookie,
    Referer,
    UserAgent,
    XForwardedFor,
    Country,
    Continent,
    DeviceClass,
    MediaType,
}

/// A field which is an array of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrayField {
    /// The names of a map's entries: one for each element, so repeated names repeat.
    Names(MapField),
    /// All values of a map.
    Values(MapField),
    AcceptedLanguages,
}

/// A field which maps names to arrays of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapField {
    Headers,
    ResponseHeaders,
    Args,
    Cookies,
    Splits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(names().is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_field_is_found_by_its_exact_name() {
        assert_eq!(Field::from_name("ssl"), Some(Field::Bool(BoolField::Ssl)));
        assert_eq!(Field::from_name("SSL"), None);
    }

    #[test]
    fn the_listing_describes_every_field_in_one_line() {
        let listed: Vec<_> = fields().collect();
        assert_eq!(listed.len(), FIELDS.len());
        assert!(listed.iter().all(|field| !field.description.is_empty()
            && !field.description.contains('\n')
            && !field.description.ends_with('.')));
    }
}
