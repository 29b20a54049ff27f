//! Filters (RFC 7644 3.4.2.2).

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter;

/// Bounds on the input.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub length: usize,
    /// Nesting.
    pub depth: usize,
}

/// Why a filter does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// Byte offset in the text.
    pub at: usize,
    /// A sentence.
    pub text: String,
}

impl Filter {
    /// Parses.
    ///
    /// # Errors
    /// Says where and why.
    pub fn parse(_text: &str, _bounds: Bounds) -> Result<Self, FilterError> {
        Ok(Self)
    }
}
