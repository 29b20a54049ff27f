//! A disk that loses what was not flushed: when the power goes, any of the writes since the last flush are there, whole or
//! torn, and the others are not.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::dice::Dice;

/// What a torn write is cut at.
const SECTOR: usize = 512;

/// A disk. It outlives the process that writes to it; every clone is the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// As it is read.
    shown: Vec<u8>,
    /// As it is after the last flush.
    durable: Vec<u8>,
    /// Written since.
    loose: Vec<(usize, Vec<u8>)>,
    flushes: u64,
    /// The power goes in place of the flush of this number.
    dies_at: Option<u64>,
    dead: bool,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes in place of a flush that is still to come: the next one, or one of those behind it.
    pub(super) fn die_in(&self, flushes: u64) {
        let mut platter = self.lock();
        platter.dies_at = Some(platter.flushes + flushes.max(1));
    }

    /// It does not go any more.
    pub(super) fn live(&self) {
        self.lock().dies_at = None;
    }

    /// The power goes now.
    pub(super) fn die(&self) {
        self.lock().dead = true;
    }

    /// Whether it is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The power is back: what was not flushed is there or not, as the dice say. Whether something was lost or torn.
    pub(super) fn back(&self, dice: &mut Dice) -> bool {
        let mut platter = self.lock();
        let Platter { durable, loose, .. } = &mut *platter;
        let mut lost = false;
        for (offset, data) in loose.drain(..) {
            let length = match dice.below(3) {
                0 => 0,
                1 => data.len() / SECTOR / 2 * SECTOR,
                _ => data.len(),
            };
            lost |= length < data.len();
            put(durable, offset, data.get(..length).unwrap_or_default());
        }
        platter.shown = platter.durable.clone();
        platter.dead = false;
        platter.dies_at = None;
        lost
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a small disk")
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.lock().shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let platter = self.lock();
        let offset = place(offset);
        let there = platter.shown.get(offset..offset + out.len());
        out.copy_from_slice(there.ok_or_else(|| io::Error::other("beyond the end"))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut platter = self.lock();
        if platter.dead {
            return Err(gone());
        }
        platter.shown.resize(place(len), 0);
        // A file's length is not flushed in the order of its bytes either; that it is there at once is the harder case
        // for whoever reads it.
        platter.durable.resize(place(len), 0);
        let end = place(len);
        platter
            .loose
            .retain(|(offset, data)| offset + data.len() <= end);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut platter = self.lock();
        platter.flushes += 1;
        if platter.dies_at.is_some_and(|at| platter.flushes >= at) {
            platter.dead = true;
        }
        if platter.dead {
            return Err(gone());
        }
        let Platter { durable, loose, .. } = &mut *platter;
        for (offset, data) in loose.drain(..) {
            put(durable, offset, &data);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut platter = self.lock();
        if platter.dead {
            return Err(gone());
        }
        let offset = place(offset);
        put(&mut platter.shown, offset, data);
        platter.loose.push((offset, data.to_vec()));
        Ok(())
    }
}
