//! The control endpoint: [`State`] for other processes. Pure but for the state that it changes.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::provision::call::Method;

use super::State;
use super::faults::{Chaos, Fault};

/// Answers one call; `path` is what follows `/control`.
pub(super) fn answer(
    state: &State,
    method: Option<Method>,
    path: &str,
    body: &[u8],
) -> (u16, Value) {
    match (method, path) {
        (Some(Method::Post), "/fail") => with::<Fault>(body, |fault| state.fail_next(fault)),
        (Some(Method::Post), "/chaos") => with::<Option<Chaos>>(body, |chaos| state.chaos(chaos)),
        (Some(Method::Post), "/release") => {
            state.release();
            done()
        }
        (Some(Method::Post), "/reset") => {
            state.reset();
            done()
        }
        (Some(Method::Get), "/quirks") => (200, json!(state.quirks())),
        (Some(Method::Post), "/quirks") => match serde_json::from_slice(body) {
            Ok(changes) => match state.quirks().changed(&changes) {
                Ok(quirks) => {
                    state.set_quirks(quirks);
                    (200, json!(state.quirks()))
                }
                Err(wrong) => (400, json!({"error": wrong})),
            },
            Err(wrong) => (400, json!({"error": wrong.to_string()})),
        },
        (Some(Method::Get), "/calls") => (200, json!(state.calls())),
        (Some(Method::Get), "/counts") => (200, json!(state.counts())),
        (Some(Method::Get), "/state") => {
            let (accounts, groups) = (state.accounts(), state.groups());
            (200, json!({"accounts": accounts, "groups": groups}))
        }
        _ => {
            let text = "There is POST /control/fail, chaos, quirks, release, reset and GET /control/quirks, calls, counts, state.";
            (404, json!({"error": text}))
        }
    }
}

fn with<T: DeserializeOwned>(body: &[u8], act: impl FnOnce(T)) -> (u16, Value) {
    match serde_json::from_slice(body) {
        Ok(value) => {
            act(value);
            done()
        }
        Err(wrong) => (400, json!({"error": wrong.to_string()})),
    }
}

fn done() -> (u16, Value) {
    (200, json!({"ok": true}))
}
