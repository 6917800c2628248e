//! The two containers of the registry.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use smallvec::SmallVec;

/// What an index finds by its name.
pub(super) trait Named {
    fn name(&self) -> &[u8];
}

/// Finds a name's place by its bytes. The hash has a seed of its own: strangers choose names, such as those of rooms, and could otherwise find
/// some that collide.
///
/// The names are read where they are, and not kept once more: with a thousand in use, what is looked for is in memory that nobody has read of late,
/// so each further place of it counts.
#[derive(Default)]
pub(super) struct Index {
    /// By the hash of the name. Of two names with one hash nobody has heard yet.
    ids: HashMap<u64, SmallVec<[usize; 1]>, BuildHasherDefault<Hashed>>,
    seed: Seed,
}

/// What is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    /// Nobody asks for it: a hash is one number.
    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The random part of a registry's hashes. A name is looked for with every message, and the standard library's hash would take longer than
/// everything else that is done for it here.
#[derive(Clone, Copy)]
struct Seed {
    start: u64,
    /// Odd, so that no bit of what it multiplies is lost.
    factor: u64,
}

impl Default for Seed {
    fn default() -> Self {
        let random = RandomState::new();
        Self { start: random.hash_one(0_u8), factor: random.hash_one(1_u8) | 1 }
    }
}

impl BuildHasher for Seed {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher { hash: self.start, factor: self.factor }
    }
}

/// Mixes eight bytes a step: both halves of a product with what nobody outside of this process knows.
struct NameHasher {
    hash: u64,
    factor: u64,
}

impl NameHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.hash ^ word) * u128::from(self.factor);
        self.hash = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((word, tail)) = rest.split_first_chunk::<8>() {
            self.mix(u64::from_le_bytes(*word));
            rest = tail;
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    /// The length of a slice, before its bytes.
    fn write_usize(&mut self, length: usize) {
        self.mix(length as u64);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

impl Index {
    pub(super) fn get<T: Named>(&self, name: &[u8], of: &Arena<T>) -> Option<usize> {
        let is_named = |&&id: &&usize| of.get(id).is_some_and(|value| value.name() == name);
        self.ids.get(&self.seed.hash_one(name))?.iter().find(is_named).copied()
    }

    /// Adds what is not there yet.
    pub(super) fn insert(&mut self, name: &[u8], id: usize) {
        self.ids.entry(self.seed.hash_one(name)).or_default().push(id);
    }

    pub(super) fn remove(&mut self, name: &[u8], id: usize) {
        let hash = self.seed.hash_one(name);
        let Some(ids) = self.ids.get_mut(&hash) else { return };
        ids.retain(|&mut found| found != id);
        if ids.is_empty() {
            self.ids.remove(&hash);
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = usize> {
        self.ids.values().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.ids().count()
    }
}

/// Values at indices that stay until the value is removed, and are then used again.
pub(super) struct Arena<T> {
    values: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    pub(super) fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(index) => {
                self.values[index] = Some(value);
                index
            }
            None => {
                self.values.push(Some(value));
                self.values.len() - 1
            }
        }
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        let value = self.values.get_mut(index)?.take()?;
        self.free.push(index);
        Some(value)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.values.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.values.get_mut(index)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten()
    }

    /// The indices in use.
    pub(super) fn indices(&self) -> Vec<usize> {
        let used = self.values.iter().enumerate().filter(|(_, value)| value.is_some());
        used.map(|(index, _)| index).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for &str {
        fn name(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn names_with_one_hash_are_told_apart() {
        // Of what is multiplied by nothing, every hash is nothing.
        let mut index = Index { seed: Seed { start: 0, factor: 0 }, ..Index::default() };
        let mut names = Arena::default();
        let ids = ["a", "b", "c"].map(|name| (name.as_bytes(), names.insert(name)));
        ids.iter().for_each(|&(name, id)| index.insert(name, id));
        assert!(ids.iter().all(|&(name, id)| index.get(name, &names) == Some(id)));
        assert_eq!((index.get(b"d", &names), index.len()), (None, 3));
        index.remove(b"b", ids[1].1);
        assert_eq!(index.ids().collect::<Vec<_>>(), [ids[0].1, ids[2].1]);
        assert_eq!((index.get(b"b", &names), index.get(b"c", &names)), (None, Some(ids[2].1)));
        ids.iter().for_each(|&(name, id)| index.remove(name, id));
        assert!(index.ids.is_empty());
    }

    #[test]
    fn hashes_of_names_differ_from_registry_to_registry_and_from_name_to_name() {
        let (one, other) = (Seed::default(), Seed::default());
        let names: Vec<Vec<u8>> = (0..10_000_u32).map(|n| format!("room:{n}").into_bytes()).collect();
        let mut hashes: Vec<u64> = names.iter().map(|name| one.hash_one(name.as_slice())).collect();
        assert!(names.iter().zip(&hashes).all(|(name, hash)| other.hash_one(name.as_slice()) != *hash));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), names.len());
        // What differs only in the length of its zeros differs too.
        assert_ne!(one.hash_one([0_u8; 7].as_slice()), one.hash_one([0_u8; 8].as_slice()));
        assert_ne!(one.hash_one([0_u8; 6].as_slice()), one.hash_one([0_u8; 7].as_slice()));
    }

    #[test]
    fn each_bit_of_a_name_changes_the_places_at_both_ends_of_a_hash() {
        let seed = Seed::default();
        let hash = |name: u64| seed.hash_one(name.to_le_bytes().as_slice());
        let (mut unmoved, mut ones) = (0, 0);
        for (name, bit) in (0..64).flat_map(|name: u64| (0..64).map(move |bit| (name, bit))) {
            let (before, after) = (hash(name), hash(name ^ (1 << bit)));
            let changed = before ^ after;
            // A map looks for a name by the lowest bits, and compares the seven highest first.
            unmoved += u32::from(changed & 0xFF == 0) + u32::from(changed >> 57 == 0);
            ones += after.count_ones();
        }
        // By chance it is 16 and 32, of 4,096 each, and half of all bits.
        assert!(unmoved < 200, "{unmoved}");
        assert!((28..36).contains(&(ones / 4_096)), "{ones}");
    }
}
