//! What follows from a country: its continent (as `GeoNames` draws them) and membership in the
//! European Union. Countries are ISO 3166-1 alpha-2 codes in capitals.

const EUROPEAN_UNION: &str =
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK";

const CONTINENTS: &[(&str, &str)] = &[
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG \
         ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM \
         MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI \
         LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI \
         PA PM PR SV SX TC TT US VC VG VI",
    ),
    (
        "OC",
        "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// The code of the continent that `country` belongs to.
pub(super) fn continent(country: [u8; 2]) -> Option<&'static str> {
    CONTINENTS
        .iter()
        .find(|(_, countries)| lists(countries, country))
        .map(|(continent, _)| *continent)
}

/// Whether `country` is a member of the European Union.
pub(super) fn in_european_union(country: [u8; 2]) -> bool {
    lists(EUROPEAN_UNION, country)
}

fn lists(countries: &str, country: [u8; 2]) -> bool {
    countries
        .as_bytes()
        .chunks(3)
        .any(|code| code.starts_with(&country))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_country_is_on_one_continent() {
        let all: Vec<&str> = CONTINENTS
            .iter()
            .flat_map(|(_, countries)| countries.split(' '))
            .collect();
        // The 249 codes of ISO 3166-1, and Kosovo.
        assert_eq!(all.len(), 250);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 250);
        for country in all {
            let code = country.as_bytes().try_into().unwrap();
            assert!(continent(code).is_some(), "{country}");
        }
        assert_eq!(EUROPEAN_UNION.split(' ').count(), 27);
    }

    #[test]
    fn countries_are_told_apart() {
        assert_eq!(continent(*b"DE"), Some("EU"));
        assert_eq!(continent(*b"US"), Some("NA"));
        assert_eq!(continent(*b"NZ"), Some("OC"));
        assert_eq!(continent(*b"XX"), None);
        assert_eq!(continent(*b"E "), None);
        assert!(in_european_union(*b"IE"));
        assert!(!in_european_union(*b"GB"));
    }
}
