//! One record by its key and slot.

use super::index::Id;
use super::{Entry, Log};

impl Log {
    /// What is stored under a primary key in this slot, as far as recovery has come. Looks into memory
    /// only.
    pub fn get(&self, primary: &[u8], slot: u64) -> Option<Entry> {
        if self.shared.is_closed() {
            return None;
        }
        let digest = self.shared.digest(primary);
        let found = self.shared.index.get(Id { digest, slot });
        found.as_ref().map(Entry::new)
    }
}
