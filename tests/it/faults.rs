//! What goes wrong around the gateway.

mod waiting;
