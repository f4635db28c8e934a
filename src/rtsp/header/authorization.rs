//! `Authorization`: `Digest` (RFC 7616 section 3.4) as players compute it over a challenge without `qop`, and without `algorithm`
//! where that is MD5, because some know nothing else; `Basic` (RFC 7617 section 2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::access::{Hashing, PasswordHash};

/// Parameters that are read at most.
const MAX_PARAMETERS: usize = 16;

/// Octets of a name and a password that are taken as they are.
const MAX_BASIC: usize = 1024;

/// What a request shows of who asks.
#[derive(Clone)]
pub enum Shown {
    /// The proof that somebody knows a password.
    Digest(Credentials),
    /// The password itself.
    Basic {
        /// Whose.
        username: String,
        /// What is claimed to be it.
        password: Zeroizing<String>,
    },
}

/// What a challenge says of the algorithm, behind the rest of it.
pub const fn algorithm(hashing: Hashing) -> &'static str {
    match hashing {
        Hashing::Md5 => "",
        Hashing::Sha256 => ", algorithm=SHA-256",
    }
}

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

/// Reads the header; `None` where it is another scheme, incomplete, or hashed in another way than the challenge says.
pub fn parse(text: &str, hashing: Hashing) -> Option<Shown> {
    let (scheme, rest) = text.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("Digest") {
        digest(rest, hashing).map(Shown::Digest)
    } else if scheme.eq_ignore_ascii_case("Basic") {
        basic(rest.trim())
    } else {
        None
    }
}

fn basic(text: &str) -> Option<Shown> {
    if text.len() > MAX_BASIC {
        return None;
    }
    let octets = Zeroizing::new(STANDARD.decode(text).ok()?);
    let (username, password) = std::str::from_utf8(&octets).ok()?.split_once(':')?;
    Some(Shown::Basic { username: username.to_owned(), password: Zeroizing::new(password.to_owned()) })
}

fn digest(rest: &str, hashing: Hashing) -> Option<Credentials> {
    let parameters = parameters(rest)?;
    let of = |name: &str| parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let is_ours = match (hashing, of("algorithm")) {
        (Hashing::Md5, None) => true,
        (Hashing::Md5, Some(algorithm)) => algorithm.eq_ignore_ascii_case("MD5"),
        (Hashing::Sha256, Some(algorithm)) => algorithm.eq_ignore_ascii_case("SHA-256"),
        // retina names it only beside a qop; the proof is as long as SHA-256 makes it.
        (Hashing::Sha256, None) => of("response").is_some_and(|response| response.len() == 64),
    };
    if of("qop").is_some() || !is_ours {
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
    pub fn prove(&self, method: &str, hash: &PasswordHash) -> bool {
        hash.is_proven_by(&self.response, &self.nonce, method, &self.uri)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest_of(text: &str) -> Option<Credentials> {
        match parse(text, Hashing::Md5) {
            Some(Shown::Digest(credentials)) => Some(credentials),
            Some(Shown::Basic { .. }) | None => None,
        }
    }

    #[test]
    fn sha_256_is_taken_where_it_is_asked_for_and_there_alone() {
        // Computed with openssl over anna:flowsteer:s3cret, DESCRIBE:/a.mp4 and the nonce n.
        let plain = r#"Digest username="anna", realm="flowsteer", nonce="n", uri="/a.mp4", response="7c00cb534a7a0efa1dd31b7c0b93879bb7eec1b273cb5360b96c6ea5426b307b""#;
        let named = format!("{plain}, algorithm=SHA-256");
        let Some(Shown::Digest(credentials)) = parse(&named, Hashing::Sha256) else { panic!("credentials") };
        assert!(credentials.prove("DESCRIBE", &PasswordHash::of(Hashing::Sha256, "anna", "s3cret")));
        assert!(!credentials.prove("DESCRIBE", &PasswordHash::of(Hashing::Md5, "anna", "s3cret")));
        assert!(parse(&named, Hashing::Md5).is_none());
        let Some(Shown::Digest(credentials)) = parse(plain, Hashing::Sha256) else { panic!("credentials") };
        assert!(credentials.prove("DESCRIBE", &PasswordHash::of(Hashing::Sha256, "anna", "s3cret")));
        let short = r#"Digest username="anna", realm="flowsteer", nonce="n", uri="/a.mp4", response="7c00cb534a7a0efa1dd31b7c0b93879b""#;
        assert!(parse(short, Hashing::Sha256).is_none(), "one by MD5 is no guess of a password");
    }

    #[test]
    fn a_password_as_it_is_may_have_colons() {
        for (text, expected) in [
            ("Basic YW5uYTpzM2NyZXQ=", Some(("anna", "s3cret"))),
            ("basic  YW5uYTphOmI=", Some(("anna", "a:b"))),
            ("Basic YW5uYQ==", None),
            ("Basic ?", None),
            ("Basic /w==", None),
            (&format!("Basic {}", "YTph".repeat(400)), None),
        ] {
            let found = match parse(text, Hashing::Md5) {
                Some(Shown::Basic { username, password }) => Some((username, password)),
                _ => None,
            };
            assert_eq!(found.as_ref().map(|(user, password)| (user.as_str(), password.as_str())), expected, "{text}");
        }
    }

    #[test]
    fn the_example_of_the_standard_is_proven() {
        // RFC 2069 section 2.4 with its corrected response, which uses neither qop nor algorithm.
        let text = r#"Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", response="1949323746fe6a43ef61f9606e7febea", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let credentials = digest_of(text).expect("credentials");
        assert_eq!((credentials.username.as_str(), credentials.uri.as_str()), ("Mufasa", "/dir/index.html"));
        // Of Mufasa:testrealm@host.com:CircleOfLife, and of another password.
        let [right, wrong] = ["4945ecf42b1bb868634058a845bedde8", "16224936c6046e205f076919db0498d8"]
            .map(|hex| PasswordHash::parse(&format!("md5:{hex}")).expect("a hash"));
        assert!(credentials.prove("GET", &right));
        assert!(!credentials.prove("GET", &wrong));
        assert!(!credentials.prove("PUT", &right));
    }

    #[test]
    fn what_is_no_digest_of_ours_is_none() {
        let whole = r#"Digest username="flow", realm="r", nonce="n", uri="u", response="00""#;
        assert!(digest_of(whole).is_some());
        assert!(digest_of(&format!("{whole}, algorithm=MD5")).is_some());
        assert!(digest_of(&format!("{whole},algorithm=\"md5\"")).is_some());
        for wrong in
            ["", "Digest", "Bearer Zmxvdzp4", r#"Digest username="flow"#, r#"Digest username="flow", realm="r", nonce="n", uri="u""#]
        {
            assert!(digest_of(wrong).is_none(), "{wrong}");
        }
        for more in [", qop=auth, nc=1, cnonce=\"x\"", ", algorithm=SHA-256", ", x", &",a=b".repeat(20)] {
            assert!(digest_of(&format!("{whole}{more}")).is_none(), "{more}");
        }
        let quoted = digest_of(r#"digest username="a\"b,c", realm=r ,nonce=n,uri=u,response=AB"#).expect("credentials");
        assert_eq!((quoted.username.as_str(), quoted.realm.as_str(), quoted.response.as_str()), ("a\"b,c", "r", "ab"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(Digest )?[a-z=\", \\\\é]{0,60}") {
            let _ = parse(&text, Hashing::Md5);
        }
    }
}
