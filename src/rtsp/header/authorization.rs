//! `Authorization: Digest` (RFC 2617 section 3.2.2) as players compute it over a challenge without `qop` and
//! `algorithm`: MD5, because some know nothing else.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// Parameters that are read at most.
const MAX_PARAMETERS: usize = 16;

/// Credentials: the proof that somebody knows a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whose.
    pub username: String,
    /// Where they are good.
    pub realm: String,
    /// What they were computed over.
    pub nonce: String,
    /// What they were computed for, as the player says.
    pub uri: String,
    /// The proof, in hex.
    response: String,
}

/// Reads the header; `None` where it is another scheme, incomplete, or computed in another way.
pub fn parse(text: &str) -> Option<Credentials> {
    let (scheme, rest) = text.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let parameters = parameters(rest)?;
    let of = |name: &str| parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    if of("qop").is_some() || of("algorithm").is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("MD5")) {
        return None;
    }
    Some(Credentials {
        username: of("username")?,
        realm: of("realm")?,
        nonce: of("nonce")?,
        uri: of("uri")?,
        response: of("response")?.to_ascii_lowercase(),
    })
}

/// `name=token` and `name="quoted"`, between commas.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if parameters.len() >= MAX_PARAMETERS {
            return None;
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => match after.split_once(',') {
                Some((value, after)) => (value.trim().to_owned(), after),
                None => (after.trim().to_owned(), ""),
            },
        };
        parameters.push((name.trim().to_owned(), value));
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    Some(parameters)
}

/// The text up to the closing quotation mark, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

impl Credentials {
    /// Whether they prove knowledge of a password, for a request with this method.
    pub fn prove(&self, method: &str, password: &str) -> bool {
        let secret = hex(&format!("{}:{}:{password}", self.username, self.realm));
        let asked = hex(&format!("{method}:{}", self.uri));
        let expected = hex(&format!("{secret}:{}:{asked}", self.nonce));
        expected.as_bytes().ct_eq(self.response.as_bytes()).into()
    }
}

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_standard_is_proven() {
        // RFC 2069 section 2.4 with its corrected response, which uses neither qop nor algorithm.
        let text = r#"Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", response="1949323746fe6a43ef61f9606e7febea", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let credentials = parse(text).expect("credentials");
        assert_eq!((credentials.username.as_str(), credentials.uri.as_str()), ("Mufasa", "/dir/index.html"));
        assert!(credentials.prove("GET", "CircleOfLife"));
        assert!(!credentials.prove("GET", "CircleOfLives"));
        assert!(!credentials.prove("PUT", "CircleOfLife"));
    }

    #[test]
    fn what_is_no_digest_of_ours_is_none() {
        let whole = r#"Digest username="flow", realm="r", nonce="n", uri="u", response="00""#;
        assert!(parse(whole).is_some());
        assert!(parse(&format!("{whole}, algorithm=MD5")).is_some());
        assert!(parse(&format!("{whole},algorithm=\"md5\"")).is_some());
        for wrong in
            ["", "Digest", "Basic Zmxvdzp4", r#"Digest username="flow"#, r#"Digest username="flow", realm="r", nonce="n", uri="u""#]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
        for more in [", qop=auth, nc=1, cnonce=\"x\"", ", algorithm=SHA-256", ", x", &",a=b".repeat(20)] {
            assert!(parse(&format!("{whole}{more}")).is_none(), "{more}");
        }
        let quoted = parse(r#"digest username="a\"b,c", realm=r ,nonce=n,uri=u,response=AB"#).expect("credentials");
        assert_eq!((quoted.username.as_str(), quoted.realm.as_str(), quoted.response.as_str()), ("a\"b,c", "r", "ab"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(Digest )?[a-z=\", \\\\é]{0,60}") {
            let _ = parse(&text);
        }
    }
}
