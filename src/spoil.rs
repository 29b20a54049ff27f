//! Spoils good inputs, for the tests that run the fuzz targets without a fuzzer.

/// Pieces that mean something to one of the parsers.
const SCRAPS: &[&str] = &[
    "\"",
    "\\",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ".",
    ":",
    ",",
    " ",
    "/",
    "?",
    "&",
    "=",
    "%",
    "%00",
    "%22",
    "+",
    "\n",
    "0",
    "-1",
    "1e999",
    "null",
    "true",
    "\"x\"",
    "[]",
    "{}",
    " and ",
    " or ",
    "not (",
    " eq ",
    " pr",
    "urn:",
    "value",
    "$ref",
    "\u{e9}",
    "\u{130}",
    "filter=",
    "count=9999999999999999999",
    "startIndex=-9",
    "cursor=",
    "sortBy=",
    "attributes=",
    "members",
    "schemas",
    "password",
    "Operations",
    "\"op\":\"remove\"",
    "\"path\":",
    "bulkId:q",
    ".search",
    "Users",
    "Groups",
    "POST ",
    "GET ",
    "Host: ",
    "If-Match: ",
    "Authorization: Bearer ",
    "fuzz",
    "Retry-After: ",
    "X-RateLimit-Reset: ",
    "access_token",
    "\"id\":",
    "[[client]]",
    "= ",
    "#",
];

/// Numbers that look random and are the same every time (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap() % most.max(1)
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// Cuts, doubles, overwrites or inserts something somewhere.
fn spoil(input: &mut Vec<u8>, seeds: &[&str], dice: &mut Dice) {
    let from = dice.below(input.len() + 1);
    let to = (from + 1 + dice.below(8)).min(input.len()).max(from);
    let piece = match dice.below(6) {
        0 => Vec::new(),
        1 => input[from..to].repeat(2),
        2 => vec![u8::try_from(dice.below(256)).unwrap()],
        3 => {
            let other = dice.one(seeds).as_bytes();
            other[dice.below(other.len())..].to_vec()
        }
        _ => dice.one(SCRAPS).as_bytes().to_vec(),
    };
    let to = if dice.below(2) == 0 { from } else { to };
    input.splice(from..to, piece);
}

/// Shows what was tried when a promise breaks.
struct Tried<'a>(&'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("tried: {:?}", String::from_utf8_lossy(self.0));
        }
    }
}

/// Gives a target its seeds, and thousands of inputs made of them.
pub(crate) fn storm(target: fn(&[u8]), seeds: &[&str]) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let spoiled = (0..5_000).map(|_| {
        let mut input = dice.one(seeds).as_bytes().to_vec();
        for _ in 0..=dice.below(4) {
            spoil(&mut input, seeds, &mut dice);
        }
        input
    });
    let whole = seeds.iter().map(|seed| seed.as_bytes().to_vec());
    for input in whole.chain(spoiled) {
        let tried = Tried(&input);
        target(tried.0);
    }
}
