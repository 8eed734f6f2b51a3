//! Hangs the rows of a mapping into the tree of source elements.

use std::ops::Range;

use super::Builder;
use crate::mapping::plan::{Field, Node, NodeId};

impl Builder<'_, '_, '_> {
    /// Hangs a field into the tree.
    pub(super) fn place(
        &mut self,
        node: NodeId,
        field: Field,
        path_span: &Range<usize>,
        span: &Range<usize>,
    ) {
        let path = field.source.clone();
        let (element, attribute) = match path.rsplit_once('@') {
            Some((element, attribute)) => {
                (element.strip_suffix('/').unwrap_or(element), Some(attribute))
            }
            None => (path.as_str(), None),
        };
        let whole = attribute.is_none_or(|name| {
            is_element_name(name) && (element.is_empty() || path.contains("/@"))
        });
        let names =
            element.is_empty() && attribute.is_some() || element.split('/').all(is_element_name);
        if !whole || !names {
            return self.bad_path(path_span, &path);
        }
        let Some(target) = self.reach(node, element, path_span) else {
            return;
        };
        if target != node && self.plan.nodes[target].item_of.is_some() {
            let message = format!("`{path}` is an item of a list");
            return self.error(
                path_span,
                "mapping_file.conflict",
                message,
                "map it under that list",
            );
        }
        let id = self.plan.fields.len();
        match attribute {
            Some(name) => self.plan.nodes[target].attributes.push((name.to_owned(), id)),
            None => self.plan.nodes[target].fields.push(id),
        }
        self.plan.fields.push(field);
        self.spans.push(span.clone());
    }

    /// The node at a path of element names below `from`, made where it is not there yet.
    pub(super) fn reach(
        &mut self,
        from: NodeId,
        path: &str,
        span: &Range<usize>,
    ) -> Option<NodeId> {
        let mut node = from;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if node != from && self.plan.nodes[node].item_of.is_some() {
                let message = format!("`{path}` leads through the items of another list");
                self.error(span, "mapping_file.conflict", message, "map it under that list");
                return None;
            }
            let known = self.plan.nodes[node].children.iter().copied();
            let mut known = known.filter(|child| self.plan.nodes[*child].name == name);
            node = if let Some(child) = known.next() {
                child
            } else {
                let child = self.plan.nodes.len();
                self.plan.nodes.push(Node { name: name.to_owned(), ..Node::default() });
                self.plan.nodes[node].children.push(child);
                child
            };
        }
        Some(node)
    }

    /// An element is either text or structure.
    pub(super) fn no_mixed_elements(&mut self) {
        let mixed: Vec<(Range<usize>, String)> = self
            .plan
            .nodes
            .iter()
            .filter(|node| !node.children.is_empty() || node.item_of.is_some())
            .flat_map(|node| {
                node.fields.iter().map(|id| (self.spans[*id].clone(), node.name.clone()))
            })
            .collect();
        for (span, name) in mixed {
            let message = format!(
                "`{name}` is read as text here and as a parent of other elements elsewhere"
            );
            self.error(&span, "mapping_file.conflict", message, "");
        }
    }
}

pub(super) fn is_element_name(name: &str) -> bool {
    name.chars().enumerate().all(|(at, c)| {
        c.is_alphabetic() || c == '_' || (at > 0 && (c.is_numeric() || c == '-' || c == '.'))
    }) && !name.is_empty()
}
