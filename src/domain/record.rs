//! Records of the portal's contract: one declaration gives the Rust struct, its JSON form and the
//! table that mapping, checks, comparison and documentation read.

use std::borrow::Cow;

/// What a contract field may hold, before any mapping rule is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text; `""` when absent.
    Text,
    /// Text or JSON `null`; only `MaDoiTuong`.
    NullableText,
    /// A JSON integer.
    Integer,
    /// A JSON boolean.
    Boolean,
    /// A list of records of the named item type.
    List(&'static [FieldSpec]),
}

/// One row of a contract table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// The portal's own name, as it goes over the wire.
    pub name: &'static str,
    pub kind: FieldKind,
    /// Longest accepted value in UTF-16 units; client-side evidence, not an official maximum.
    pub length_max: Option<usize>,
}

/// A scalar on its way into a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Null,
    Integer(i64),
    Boolean(bool),
}

/// A scalar or list as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueRef<'a> {
    Text(&'a str),
    Null,
    Integer(i64),
    Boolean(bool),
    /// Number of items; reach them with [`Record::item`].
    List(usize),
}

/// A value of the wrong kind was offered to a field: a defect of the caller's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("field {field} does not take this kind of value")]
pub struct KindMismatch {
    pub field: &'static str,
}

/// Access by position in the contract table; positions are those of [`Record::fields`].
pub trait Record {
    fn fields(&self) -> &'static [FieldSpec];
    fn set(&mut self, field: usize, value: Value<'_>) -> Result<(), KindMismatch>;
    fn get(&self, field: usize) -> ValueRef<'_>;
    /// Appends an empty item to a list field and returns it.
    fn append(&mut self, field: usize) -> Result<&mut dyn Record, KindMismatch>;
    /// The item that was appended last to a list field.
    fn last(&mut self, field: usize) -> Option<&mut dyn Record>;
    fn item(&self, field: usize, index: usize) -> Option<&dyn Record>;
}

/// The position of a field by its portal name.
pub fn position(fields: &[FieldSpec], name: &str) -> Option<usize> {
    fields.iter().position(|field| field.name == name)
}

/// One scalar or list field of a record; implemented for the Rust types that [`record!`] allows.
pub(super) trait Slot {
    fn put(&mut self, value: Value<'_>) -> bool;
    fn view(&self) -> ValueRef<'_>;
    fn append_item(&mut self) -> Option<&mut dyn Record> {
        None
    }
    fn last_item(&mut self) -> Option<&mut dyn Record> {
        None
    }
    fn item_at(&self, _index: usize) -> Option<&dyn Record> {
        None
    }
}

impl Slot for String {
    fn put(&mut self, value: Value<'_>) -> bool {
        let Value::Text(text) = value else {
            return false;
        };
        *self = text.into_owned();
        true
    }
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl Slot for Option<String> {
    fn put(&mut self, value: Value<'_>) -> bool {
        match value {
            Value::Text(text) => *self = Some(text.into_owned()),
            Value::Null => *self = None,
            _ => return false,
        }
        true
    }
    fn view(&self) -> ValueRef<'_> {
        self.as_deref().map_or(ValueRef::Null, ValueRef::Text)
    }
}

impl Slot for i64 {
    fn put(&mut self, value: Value<'_>) -> bool {
        let Value::Integer(number) = value else {
            return false;
        };
        *self = number;
        true
    }
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Integer(*self)
    }
}

impl Slot for bool {
    fn put(&mut self, value: Value<'_>) -> bool {
        let Value::Boolean(truth) = value else {
            return false;
        };
        *self = truth;
        true
    }
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Boolean(*self)
    }
}

impl<T: Record + Default> Slot for Vec<T> {
    fn put(&mut self, _value: Value<'_>) -> bool {
        false
    }
    fn view(&self) -> ValueRef<'_> {
        ValueRef::List(self.len())
    }
    fn append_item(&mut self) -> Option<&mut dyn Record> {
        self.push(T::default());
        self.last_item()
    }
    fn last_item(&mut self) -> Option<&mut dyn Record> {
        self.last_mut().map(|item| item as &mut dyn Record)
    }
    fn item_at(&self, index: usize) -> Option<&dyn Record> {
        self.get(index).map(|item| item as &dyn Record)
    }
}

/// Declares a record: `rust_field: Type => "PortalName" [max N],` in contract order.
macro_rules! record {
    (@kind String) => { $crate::domain::record::FieldKind::Text };
    (@kind OptionalText) => { $crate::domain::record::FieldKind::NullableText };
    (@kind i64) => { $crate::domain::record::FieldKind::Integer };
    (@kind bool) => { $crate::domain::record::FieldKind::Boolean };
    (@kind List $item:ident) => { $crate::domain::record::FieldKind::List($item::FIELDS) };
    (@type String) => { String };
    (@type OptionalText) => { Option<String> };
    (@type i64) => { i64 };
    (@type bool) => { bool };
    (@type List $item:ident) => { Vec<$item> };
    (@max) => { None };
    (@max $max:literal) => { Some($max) };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : [$($kind:ident)+] => $portal:literal $(max $max:literal)? , )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $( $(#[$field_meta])* #[serde(rename = $portal)] pub $field: $crate::domain::record::record!(@type $($kind)+), )+
        }

        impl $name {
            /// The contract table, in the order in which the fields are sent.
            pub const FIELDS: &'static [$crate::domain::record::FieldSpec] = &[
                $( $crate::domain::record::FieldSpec {
                    name: $portal,
                    kind: $crate::domain::record::record!(@kind $($kind)+),
                    length_max: $crate::domain::record::record!(@max $($max)?),
                }, )+
            ];

            fn slots_mut(&mut self) -> [&mut dyn $crate::domain::record::Slot; [$($portal),+].len()] {
                [$( &mut self.$field ),+]
            }

            fn slots(&self) -> [&dyn $crate::domain::record::Slot; [$($portal),+].len()] {
                [$( &self.$field ),+]
            }
        }

        impl $crate::domain::record::Record for $name {
            fn fields(&self) -> &'static [$crate::domain::record::FieldSpec] {
                Self::FIELDS
            }
            fn set(
                &mut self,
                field: usize,
                value: $crate::domain::record::Value<'_>,
            ) -> Result<(), $crate::domain::record::KindMismatch> {
                if self.slots_mut()[field].put(value) {
                    Ok(())
                } else {
                    Err($crate::domain::record::KindMismatch { field: Self::FIELDS[field].name })
                }
            }
            fn get(&self, field: usize) -> $crate::domain::record::ValueRef<'_> {
                self.slots()[field].view()
            }
            fn append(
                &mut self,
                field: usize,
            ) -> Result<&mut dyn $crate::domain::record::Record, $crate::domain::record::KindMismatch> {
                match self.slots_mut().into_iter().nth(field).and_then(|slot| slot.append_item()) {
                    Some(item) => Ok(item),
                    None => Err($crate::domain::record::KindMismatch { field: Self::FIELDS[field].name }),
                }
            }
            fn last(&mut self, field: usize) -> Option<&mut dyn $crate::domain::record::Record> {
                self.slots_mut().into_iter().nth(field).and_then(|slot| slot.last_item())
            }
            fn item(&self, field: usize, index: usize) -> Option<&dyn $crate::domain::record::Record> {
                self.slots()[field].item_at(index)
            }
        }
    };
}
pub(super) use record;
