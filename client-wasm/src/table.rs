//! A small map. A page knows a handful of sales and at most some hundred orders, and a tree is code of its own for each kind of value,
//! which every shopper would download.

#[derive(Debug)]
pub struct Table<K, V>(Vec<(K, V)>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + Ord, V> Table<K, V> {
    fn at(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.at(key).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.at(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Replaces what was there.
    pub fn insert(&mut self, key: K, value: V) {
        match self.at(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.at(key).ok().map(|at| self.0.remove(at).1)
    }

    pub fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.0.iter().map(|(key, _)| *key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (*key, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..8, prop::option::of(any::<u8>())), 0..60)) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        table.insert(key, value);
                        map.insert(key, value);
                    }
                    None => prop_assert_eq!(table.remove(&key), map.remove(&key)),
                }
                prop_assert_eq!(table.keys().collect::<Vec<_>>(), map.keys().copied().collect::<Vec<_>>());
                prop_assert_eq!(table.values().collect::<Vec<_>>(), map.values().collect::<Vec<_>>());
                prop_assert_eq!(table.get(&key), map.get(&key));
                prop_assert_eq!(table.get_mut(&key), map.get_mut(&key));
                prop_assert_eq!(table.len(), map.len());
            }
        }
    }
}
