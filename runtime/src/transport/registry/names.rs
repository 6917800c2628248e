//! The two containers of the registry.

use std::collections::HashMap;

/// Finds a name's place by its bytes. The hash has a seed of its own: strangers choose names, such as those of rooms, and could otherwise find
/// some that collide.
#[derive(Default)]
pub(super) struct Index {
    ids: HashMap<Box<[u8]>, usize>,
}

impl Index {
    pub(super) fn get(&self, name: &[u8]) -> Option<usize> {
        self.ids.get(name).copied()
    }

    pub(super) fn insert(&mut self, name: Vec<u8>, id: usize) {
        self.ids.insert(name.into_boxed_slice(), id);
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.ids.remove(name);
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = usize> {
        self.ids.values().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
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
