//! Rules that rewrite a directory user's attributes into an application's, compiled at load. Pure.

pub mod rule;
