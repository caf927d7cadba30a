//! `conf/seawall.schema.json`: what editors know of the file. It is made of the reference, which
//! has every key with its comment and default, and of what the reader says to values that cannot be;
//! `UPDATE_GOLDENS=1 cargo test --test config` writes it anew.

use std::collections::BTreeMap;

use seawall::config::{Outside, PRESETS, parse_with};
use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use super::reference::{BOGUS, Path, REFERENCE, below, comments, tokens, uncommented};
use super::{files, read, root};

const SCHEMA: &str = "conf/seawall.schema.json";
/// What may stand for any text: the environment has the rest.
const FROM_THE_ENVIRONMENT: &str = r"\$\{";

#[test]
fn the_schema_is_what_reference_and_reader_say() {
    let made = format!("{:#}\n", Maker::new().schema());
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(root().join(SCHEMA), &made).unwrap();
    }
    assert!(
        made == read(SCHEMA),
        "{SCHEMA} is not what it should be: UPDATE_GOLDENS=1 cargo test --test config"
    );
}

#[test]
fn every_shipped_file_fits_the_schema() {
    let mut sources: Vec<(String, String)> = ["conf", "examples", "load"]
        .iter()
        .flat_map(|folder| files(folder, "toml"))
        .map(|path| (path.display().to_string(), read(&path)))
        .collect();
    sources.push(("everything".to_owned(), uncommented(&read(REFERENCE), true)));
    sources.extend(PRESETS.iter().map(|preset| {
        let zone = preset
            .toml
            .replace("[[cache_rules", "[[zones.site.cache_rules");
        (preset.name.to_owned(), format!("{SITE}{zone}"))
    }));
    assert!(sources.len() > 5);
    for (name, source) in sources {
        assert_eq!(faults(&source), [""; 0], "{name}");
    }
}

const SITE: &str = "listen = \"${ADDRESS}\"\n\
    [pools.app]\nservers = \"http://127.0.0.1:8000\"\n\
    [zones.site]\nhosts = \"*\"\npool = \"app\"\n";

#[test]
fn what_the_reader_takes_from_the_environment_fits_as_well() {
    let rest = "cache_rules = [{ expression = \"true\", cache = \"${WORD}\" }]\n\
        [server]\nthreads = \"${THREADS}\"\n[cache]\nmemory = \"${MEMORY:-1 GiB}\"";
    assert_eq!(faults(&format!("{SITE}{rest}")), [""; 0]);
}

#[test]
fn what_is_wrong_does_not_fit() {
    for (wrong, place) in [
        ("presets = [\"djang\"]", "/zones/site/presets"),
        ("mergeslashes = true", "/zones/site"),
        ("merge_slashes = \"yes\"", "/zones/site/merge_slashes"),
        (
            "cache_rules = [{ cache = \"bypass\" }]",
            "/zones/site/cache_rules",
        ),
        (
            "cache_rules = [{ expression = \"true\", cache = \"bypas\" }]",
            "/zones/site/cache_rules",
        ),
        (
            "cache_rules = [{ expression = \"true\", edge_ttl = 60 }]",
            "/zones/site/cache_rules",
        ),
        ("[server]\nthreads = 0", "/server/threads"),
        ("[server]\nthreads = \"four\"", "/server/threads"),
        ("[client]\nidle_timeout = 60", "/client/idle_timeout"),
        ("[client]\nmax_headers = 251", "/client/max_headers"),
        ("[zones.other]\npool = \"app\"", "/zones/other"),
        ("[pools.app.retry]\nmax = 1", "/pools/app"),
        ("[logs]\naccess = true", ""),
    ] {
        let places = faults(&format!("{SITE}{wrong}"));
        assert_eq!(places, [place], "{wrong}");
    }
}

/// Where `source` does not fit, as JSON pointers.
fn faults(source: &str) -> Vec<String> {
    let schema: Json = serde_json::from_str(&read(SCHEMA)).unwrap();
    let validator = jsonschema::draft4::new(&schema).unwrap();
    let table: Table = source.parse().unwrap();
    validator
        .iter_errors(&json_of(&Value::Table(table)))
        .map(|fault| fault.instance_path().to_string())
        .collect()
}

/// As TOML's language servers see it: dates are strings.
fn json_of(value: &Value) -> Json {
    match value {
        Value::String(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::Datetime(time) => json!(time.to_string()),
        Value::Array(items) => items.iter().map(json_of).collect(),
        Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), json_of(value)))
            .collect(),
    }
}

struct Maker {
    /// The reference with its defaults and examples; it has no fault.
    everything: Value,
    as_shipped: Value,
    with_defaults: Value,
    /// The comments above keys, and those that a table's comment has on its keys.
    comments: BTreeMap<Path, String>,
}

impl Maker {
    fn new() -> Self {
        let source = read(REFERENCE);
        let table = |source: &str| Value::Table(source.parse().unwrap());
        Self {
            everything: table(&uncommented(&source, true)),
            as_shipped: table(&source),
            with_defaults: table(&uncommented(&source, false)),
            comments: comments(&uncommented(&source, true)),
        }
    }

    fn schema(&self) -> Json {
        let mut definitions = Map::new();
        let mut schema = self.table(&[Path::new()], &mut definitions);
        schema.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-04/schema#"),
        );
        schema.insert("title".to_owned(), json!("Seawall"));
        schema.insert("definitions".to_owned(), Json::Object(definitions));
        Json::Object(schema)
    }

    /// The schema of a table that the reference has at all of `places`.
    fn table(&self, places: &[Path], definitions: &mut Map<String, Json>) -> Map<String, Json> {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        let mut written: BTreeMap<&String, Vec<Path>> = BTreeMap::new();
        for place in places {
            for key in at(&self.everything, place).as_table().unwrap().keys() {
                written.entry(key).or_default().push(below(place, key));
            }
        }
        if !places.iter().any(|place| self.refuses_unknown_keys(place)) {
            return self.open_table(schema, written, definitions);
        }
        let required: Vec<&String> = written
            .iter()
            .filter(|(_, written)| written.len() == places.len())
            .filter(|(_, written)| written.iter().all(|place| self.is_required(place)))
            .map(|(key, _)| *key)
            .collect();
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        let properties: Map<String, Json> = written
            .iter()
            .map(|(key, places)| ((*key).clone(), self.value(places, definitions)))
            .collect();
        schema.insert("properties".to_owned(), Json::Object(properties));
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema
    }

    /// A table whose keys are the user's. Where some of those in the reference take something else than
    /// the others, most stand for what the user may write, and the rest for themselves.
    fn open_table(
        &self,
        mut schema: Map<String, Json>,
        written: BTreeMap<&String, Vec<Path>>,
        definitions: &mut Map<String, Json>,
    ) -> Map<String, Json> {
        let mut kinds: Vec<(String, Vec<&String>, Vec<Path>)> = Vec::new();
        for (key, places) in written {
            let mut kind = self.value(&places, &mut Map::new());
            kind.as_object_mut().unwrap().remove("description");
            kind.as_object_mut().unwrap().remove("default");
            let kind = kind.to_string();
            match kinds.iter_mut().find(|(known, ..)| *known == kind) {
                Some((_, keys, all)) => {
                    keys.push(key);
                    all.extend(places);
                }
                None => kinds.push((kind, vec![key], places)),
            }
        }
        kinds.sort_by_key(|(_, keys, _)| keys.len());
        if let Some((_, _, places)) = kinds.pop() {
            let most = self.value(&places, definitions);
            schema.insert("additionalProperties".to_owned(), most);
        }
        let mut properties = Map::new();
        for (_, keys, places) in kinds {
            for key in keys {
                properties.insert(key.clone(), self.value(&places, definitions));
            }
        }
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), Json::Object(properties));
        }
        schema
    }

    /// The schema of a value that the reference has at all of `places`, with its comment.
    fn value(&self, places: &[Path], definitions: &mut Map<String, Json>) -> Json {
        let Some(place) = places.first() else {
            return json!({});
        };
        let items: Vec<Path> = places
            .iter()
            .filter_map(|place| Some((place, at(&self.everything, place).as_array()?)))
            .flat_map(|(place, items)| (0..items.len()).map(|n| below(place, &n.to_string())))
            .collect();
        let tables: Vec<Path> = [places, &items]
            .concat()
            .into_iter()
            .filter(|place| at(&self.everything, place).is_table())
            .collect();
        let takes_list = !self.refuses(place, Value::Array(Vec::new()));
        let mut table = None;
        if !self.refuses(place, Value::Table(Table::new())) && !tables.is_empty() {
            let schema = Json::Object(self.table(&tables, definitions));
            // It stands twice: alone, and as an item.
            table = Some(if takes_list {
                let name = names(place).join(".");
                definitions.insert(name.clone(), schema);
                json!({ "$ref": format!("#/definitions/{name}") })
            } else {
                schema
            });
        }
        let mut forms = self.scalars(place, |value| value);
        forms.extend(table.clone());
        if takes_list {
            let mut items = self.scalars(place, |value| Value::Array(vec![value]));
            items.extend(table);
            forms.push(json!({ "type": "array", "items": one_of(items) }));
        }
        let mut schema = one_of(forms);
        let fields = schema.as_object_mut().unwrap();
        if let Some(comment) = places
            .iter()
            .find_map(|place| self.comments.get(&names(place)))
        {
            fields.insert("description".to_owned(), json!(comment));
        }
        if let Some(default) = places.iter().find_map(|place| self.default(place)) {
            fields.insert("default".to_owned(), default);
        }
        schema
    }

    /// The forms other than list and table; `wrap` makes a list of the probe, or leaves it alone.
    fn scalars(&self, place: &Path, wrap: impl Fn(Value) -> Value) -> Vec<Json> {
        let mut forms = Vec::new();
        let text = wrap(Value::String(BOGUS.to_owned()));
        if !self.refuses(place, text.clone()) {
            forms.extend(self.strings(place, text));
        }
        let negative = wrap(Value::Integer(-1));
        if !self.refuses(place, negative.clone()) {
            forms.push(self.integers(place, [negative, wrap(Value::Integer(0))]));
        }
        let flags = [true, false].map(|flag| (flag, wrap(Value::Boolean(flag))));
        let taken: Vec<bool> = flags
            .into_iter()
            .filter(|(_, flag)| !self.refuses(place, flag.clone()))
            .filter(|(_, flag)| self.faults(place, Some(flag.clone())).is_empty())
            .map(|(flag, _)| flag)
            .collect();
        match taken[..] {
            [] => {}
            [only] => forms.push(json!({ "enum": [only] })),
            _ => forms.push(json!({ "type": "boolean" })),
        }
        forms
    }

    /// Any string, a word of those that the reader names, or a number in quotes.
    fn strings(&self, place: &Path, probe: Value) -> Vec<Json> {
        let faults = self.faults(place, Some(probe));
        if faults
            .iter()
            .any(|(message, _)| message.contains("must be a whole number"))
        {
            let number = format!("^ *[0-9]+ *$|{FROM_THE_ENVIRONMENT}");
            return vec![json!({ "type": "string", "pattern": number })];
        }
        let known = faults
            .iter()
            .find(|(message, _)| message.contains(BOGUS))
            .and_then(|(_, help)| help.strip_prefix("known are "));
        let Some(known) = known else {
            return vec![json!({ "type": "string" })];
        };
        let list = known.split(';').next().unwrap();
        let words: Vec<&str> = list
            .split(", ")
            .map(|word| word.trim_matches(['"', '`']))
            .collect();
        vec![
            json!({ "enum": words }),
            json!({ "type": "string", "pattern": FROM_THE_ENVIRONMENT }),
        ]
    }

    /// The bounds are those that the reader names: "from 1 to 1024", "of at least 0".
    fn integers(&self, place: &Path, probes: [Value; 2]) -> Json {
        let mut schema = json!({ "type": "integer" });
        for probe in probes {
            for (message, _) in self.faults(place, Some(probe)) {
                let bounds: Vec<u64> = message
                    .split(' ')
                    .filter_map(|word| word.parse().ok())
                    .collect();
                if let Some(least) = bounds.first() {
                    schema["minimum"] = json!(least);
                }
                if let Some(most) = bounds.get(1) {
                    schema["maximum"] = json!(most);
                }
            }
        }
        schema
    }

    fn refuses_unknown_keys(&self, place: &Path) -> bool {
        let probe = below(place, BOGUS);
        let faults = self.faults(&probe, Some(Value::Integer(0)));
        faults
            .iter()
            .any(|(message, _)| message.starts_with(&format!("unknown key `{BOGUS}`")))
    }

    fn is_required(&self, place: &Path) -> bool {
        let key = names(place).pop().unwrap();
        self.faults(place, None).iter().any(|(message, _)| {
            message.contains(&format!("`{key}` is missing"))
                || message.contains(&format!("no `{key}`"))
                || message.contains(&format!("`{key}` names no"))
        })
    }

    /// Whether the reader refuses the type of `probe`, rather than this one value. Of what stands
    /// under a name of the user's it speaks as of the table around.
    fn refuses(&self, place: &Path, probe: Value) -> bool {
        let names = names(place);
        let mut spoken_of = names.iter().rev().take(2);
        let text = match &probe {
            Value::Array(items) => items.first().is_some_and(Value::is_str),
            probe => probe.is_str(),
        };
        let faults = self.faults(place, Some(probe));
        spoken_of.any(|key| {
            faults.iter().any(|(message, _)| {
                message.starts_with(&format!("`{key}` must be "))
                    && (message.contains(", found ")
                        || !text
                            && !message.contains("whole number")
                            && !message.contains(" bytes"))
            })
        })
    }

    /// What the reader says, message and help, to `probe` at `place`, or to nothing there.
    fn faults(&self, place: &Path, probe: Option<Value>) -> Vec<(String, String)> {
        let mut document = self.everything.clone();
        let (key, parent) = place.split_last().unwrap();
        let parent = parent
            .iter()
            .fold(&mut document, |value, step| child_mut(value, step));
        match (parent, probe) {
            (Value::Table(table), Some(probe)) => drop(table.insert(key.clone(), probe)),
            (Value::Table(table), None) => drop(table.remove(key)),
            (Value::Array(items), Some(probe)) => items[key.parse::<usize>().unwrap()] = probe,
            (parent, probe) => panic!("{place:?}: {parent} cannot take {probe:?}"),
        }
        let files = |file: &std::path::Path| Ok(super::reference::file(file));
        let outside = Outside {
            env: &tokens,
            files: &files,
        };
        match parse_with("probe.toml", &toml::to_string(&document).unwrap(), outside) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .list()
                .iter()
                .map(|fault| {
                    (
                        fault.message.clone(),
                        fault.help.clone().unwrap_or_default(),
                    )
                })
                .collect(),
        }
    }

    /// What the reference writes behind a bare `#`.
    fn default(&self, place: &Path) -> Option<Json> {
        let written = |document| {
            place
                .iter()
                .try_fold(document, |value, step| child(value, step))
        };
        match written(&self.as_shipped) {
            Some(_) => None,
            None => written(&self.with_defaults).map(json_of),
        }
    }
}

fn one_of(mut forms: Vec<Json>) -> Json {
    match forms.len() {
        0 => json!({}),
        1 => forms.remove(0),
        _ => json!({ "anyOf": forms }),
    }
}

/// The keys on the way, without indexes.
fn names(place: &Path) -> Path {
    let is_index = |step: &String| step.bytes().all(|byte| byte.is_ascii_digit());
    let (last, way) = place.split_last().unwrap();
    let mut names: Path = way.iter().filter(|step| !is_index(step)).cloned().collect();
    names.push(last.clone());
    names
}

fn at<'v>(document: &'v Value, place: &Path) -> &'v Value {
    place.iter().fold(document, |value, step| {
        child(value, step).unwrap_or_else(|| panic!("nothing at {place:?}"))
    })
}

fn child<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Table(table) => table.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

fn child_mut<'v>(value: &'v mut Value, step: &str) -> &'v mut Value {
    match value {
        Value::Table(table) => &mut table[step],
        Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
        other => panic!("`{step}` in {other}"),
    }
}
