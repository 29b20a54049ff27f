//! Reads the configuration's file and the secrets that it names. Nothing is decided here.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::check::{self, Refusal, Source, Surroundings, check};
use super::problem::{Lines, Problem};
use super::shape::{Config, Places};

/// The largest configuration file, in bytes.
const FILE_LIMIT: u64 = 16 << 20;
/// The largest secret, in bytes: far above any token that fits into a header.
const SECRET_LIMIT: u64 = 64 << 10;

/// Reads the file at `path` and everything that it names.
///
/// # Errors
/// Every mistake in it, by position; or the one that kept it from being read.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    parse(&text(path)?, path, env)
}

/// Reads of the file at `path` only where the admin socket and the data file are. Mistakes elsewhere do not matter and
/// no secret is read: who asks for a report need not be who may run the gateway.
///
/// # Errors
/// Mistakes in these two keys or in the syntax; or what kept the file from being read.
pub fn places(path: &Path) -> Result<Places, Vec<Problem>> {
    check::places(&text(path)?, path.display().to_string(), beside(path))
}

/// The directory that a file's relative paths are relative to.
fn beside(origin: &Path) -> &Path {
    origin.parent().unwrap_or(Path::new(""))
}

/// The text of the file at `path`.
///
/// # Errors
/// What kept it from being read.
pub fn text(path: &Path) -> Result<String, Vec<Problem>> {
    let bytes = match read(path, FILE_LIMIT) {
        Ok((bytes, _mode)) => bytes,
        Err(why) => return Err(vec![unread(path, (1, 1), why, "a configuration file")]),
    };
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        let place = Lines::new(&good).place(good.len());
        let found = "bytes that are not UTF-8".to_owned();
        vec![unread(path, place, found, "a TOML file in UTF-8")]
    })
}

/// Checks a configuration's text as if it stood in the file `origin`: relative paths are relative to its directory.
/// Reads the secrets that it names.
///
/// # Errors
/// Every mistake in it, by position.
pub fn parse(
    text: &str,
    origin: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<Problem>> {
    let around = Surroundings {
        file: origin.display().to_string(),
        beside: beside(origin),
        secret: &|source| secret(source, env),
        public: &|path| match read(path, SECRET_LIMIT * 16) {
            Ok((bytes, _mode)) => Ok(bytes),
            Err(found) => Err(refuse(found, "a file that can be read")),
        },
        opens: true,
    };
    check(text, &around)
}

/// Checks a configuration's text for whoever only decides by it: as [`parse`], but no secret and no certificate is read,
/// and none need be there.
///
/// # Errors
/// Every mistake in it, by position.
pub fn decisions(text: &str, origin: &Path) -> Result<Config, Vec<Problem>> {
    let around = Surroundings {
        file: origin.display().to_string(),
        beside: beside(origin),
        secret: &|_| Err(refuse("a secret".into(), "none")),
        public: &|_| Err(refuse("a file".into(), "none")),
        opens: false,
    };
    check(text, &around)
}

fn unread(path: &Path, (line, column): (usize, usize), found: String, wanted: &str) -> Problem {
    Problem {
        file: path.display().to_string(),
        line,
        column,
        key: String::new(),
        found,
        wanted: wanted.to_owned(),
        hint: None,
    }
}

/// A regular file's bytes and mode. Anything else (a directory, a pipe that nobody writes to) is not even opened.
fn read(path: &Path, limit: u64) -> Result<(Vec<u8>, u32), String> {
    let told = |error: std::io::Error| format!("a file that cannot be read ({error})");
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(String::from("something that is not a file"));
    }
    let file = File::open(path).map_err(told)?;
    let mode = file.metadata().map_err(told)?.permissions().mode();
    let mut bytes = Vec::new();
    let size = file.take(limit + 1).read_to_end(&mut bytes).map_err(told)?;
    if u64::try_from(size).unwrap_or(u64::MAX) > limit {
        return Err(format!("a file of more than {limit} bytes"));
    }
    Ok((bytes, mode))
}

fn refuse(found: String, wanted: &str) -> Refusal {
    Refusal {
        found,
        wanted: wanted.to_owned(),
    }
}

/// The text of a file that only its owner may read. `file` is wanted where there is none, `text` where it is no text.
fn owned(
    path: &Path,
    credentials: Option<&Path>,
    file: &str,
    text: &str,
) -> Result<String, Refusal> {
    let (bytes, mode) = read(path, SECRET_LIMIT).map_err(|found| refuse(found, file))?;
    let handed = |folder| mode & 0o7777 == 0o440 && is_below(path, folder);
    if mode & 0o077 != 0 && !credentials.is_some_and(handed) {
        let found = format!("a file that others may read (mode {:04o})", mode & 0o7777);
        return Err(refuse(found, "one that only its owner may read: chmod 600"));
    }
    String::from_utf8(bytes).map_err(|_| refuse("a file that is not text".into(), text))
}

/// Whether `path` is in `folder` when all links are followed.
fn is_below(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    match (real(path), real(folder)) {
        (Some(path), Some(folder)) => path.starts_with(folder),
        _ => false,
    }
}

fn secret(source: Source<'_>, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Refusal> {
    let wanted = "the secret, alone: visible ASCII characters without a space in them";
    // systemd hands credentials to a unit's own user by an ACL, which shows as group's right to read: mode 0440 there means
    // that nobody else may (systemd.exec(5), LoadCredential=).
    let credentials = env("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let credentials = credentials.as_deref().filter(|folder| folder.is_absolute());
    let (held, text) = match source {
        Source::Env(name) => {
            // Whoever put the secret itself there must not see it printed; variables are in capitals.
            let capitals = |byte: u8| !byte.is_ascii_lowercase();
            let name_shown = if name.len() <= 40 && name.bytes().all(capitals) {
                format!("environment variable {name}")
            } else {
                String::from("environment variable of this name")
            };
            let text = env(name)
                .ok_or_else(|| refuse(format!("no {name_shown}"), "one that holds the secret"))?;
            ("a variable", text)
        }
        Source::File(path) => (
            "a file",
            owned(path, credentials, "a file that holds the secret", wanted)?,
        ),
        Source::Key(path) => {
            let wanted = "a file that holds the key";
            return owned(path, credentials, wanted, wanted);
        }
    };
    // Editors and `echo` end a file with a newline, which is no part of the secret.
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(refuse(format!("{held} with nothing in it"), wanted));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        let found = format!("{held} with spaces, line ends or letters outside ASCII in it");
        return Err(refuse(found, wanted));
    }
    Ok(secret.to_owned())
}
