//! What a template can read, found by a walk over its parsed form.
//!
//! The walk is coarse on purpose: a name counts as read wherever it stands, even if the template assigns it first.
//! Reading too much costs a rerun; missing a read would serve a stale result. (minijinja's own `undeclared_variables`
//! skips slices and `with` values.)

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use minijinja::machinery::{Span, ast};

/// Which attributes of a variable are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attrs {
    /// The whole variable: `row|tojson`, `row[name]`, passed to a macro.
    All,
    Some(BTreeSet<String>),
}

impl Default for Attrs {
    fn default() -> Attrs {
        Attrs::Some(BTreeSet::new())
    }
}

impl Attrs {
    /// Adds what `other` reads.
    pub fn merge(&mut self, other: &Attrs) {
        match (&mut *self, other) {
            (Attrs::Some(mine), Attrs::Some(theirs)) => mine.extend(theirs.iter().cloned()),
            _ => *self = Attrs::All,
        }
    }

    /// Returns true if nothing is read.
    pub fn is_empty(&self) -> bool {
        matches!(self, Attrs::Some(names) if names.is_empty())
    }
}

/// What one template, or several, can read.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    variables: BTreeMap<String, Attrs>,
    assigned: BTreeSet<String>,
    used: Vec<NameUsed>,
}

/// What sort of name a template uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NameKind {
    Variable,
    Filter,
    Test,
}

impl NameKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            NameKind::Variable => "variable or function",
            NameKind::Filter => "filter",
            NameKind::Test => "test",
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            NameKind::Variable => "unknown-variable",
            NameKind::Filter => "unknown-filter",
            NameKind::Test => "unknown-test",
        }
    }
}

/// A variable, function, filter or test that a template names, with the place where it does.
#[derive(Clone, Debug)]
pub(super) struct NameUsed {
    pub kind: NameKind,
    pub name: String,
    pub template: String,
    pub span: Range<usize>,
}

impl Reads {
    /// Returns which attributes of a variable are read; empty if it is not read at all.
    pub fn of(&self, variable: &str) -> Attrs {
        self.variables.get(variable).cloned().unwrap_or_default()
    }

    /// Returns true if the variable is read.
    pub fn reads(&self, variable: &str) -> bool {
        self.variables.contains_key(variable)
    }

    /// Adds what `other` reads.
    pub fn merge(&mut self, other: Reads) {
        for (name, attrs) in &other.variables {
            self.variables.entry(name.clone()).or_default().merge(attrs);
        }
        self.assigned.extend(other.assigned);
        self.used.extend(other.used);
    }

    pub(super) fn names_used(&self) -> Vec<&NameUsed> {
        let mut seen = BTreeSet::new();
        self.used.iter().filter(|used| seen.insert((used.kind, used.name.as_str()))).collect()
    }

    pub(super) fn is_assigned(&self, name: &str) -> bool {
        self.assigned.contains(name)
    }

    /// Returns where an attribute such as `row.question` is first read, for messages.
    pub fn place_of(&self, template: &super::Template, variable: &str, attr: &str) -> Option<crate::problem::Place> {
        let dotted = format!("{variable}.{attr}");
        self.used.iter().filter(|used| used.kind == NameKind::Variable && used.name == variable).find_map(|used| {
            let place = template.place_of(&used.template, used.span.clone())?;
            let text = place.source.text.get(place.range.start..)?;
            let reads_attr = text.starts_with(&dotted)
                || text.starts_with(&format!("{variable}[\"{attr}\"]"))
                || text.starts_with(&format!("{variable}['{attr}']"));
            reads_attr
                .then(|| crate::problem::Place { range: place.range.start..place.range.start + dotted.len(), ..place })
        })
    }
}

/// A template that another includes, imports or extends.
pub(super) struct Include {
    pub name: String,
    pub may_miss: bool,
    pub span: Range<usize>,
}

/// What a walk found in one source.
#[derive(Default)]
pub(super) struct Walked {
    pub reads: Reads,
    pub includes: Vec<Include>,
    /// Includes whose name is computed, so that the template cannot be known before a render.
    pub computed: Vec<Range<usize>>,
}

/// Walks one parsed source; `template` is its name.
pub(super) fn walk(parsed: &ast::Stmt<'_>, template: &str) -> Walked {
    let mut walker = Walker { template, out: Walked::default() };
    walker.statement(parsed);
    walker.out
}

struct Walker<'a> {
    template: &'a str,
    out: Walked,
}

fn range(span: Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

impl Walker<'_> {
    fn read(&mut self, name: &str, attr: Option<&str>, span: Span) {
        let entry = self.out.reads.variables.entry(name.to_owned()).or_default();
        match attr {
            Some(attr) => entry.merge(&Attrs::Some(BTreeSet::from([attr.to_owned()]))),
            None => *entry = Attrs::All,
        }
        self.used(NameKind::Variable, name, span);
    }

    fn used(&mut self, kind: NameKind, name: &str, span: Span) {
        let (name, template) = (name.to_owned(), self.template.to_owned());
        self.out.reads.used.push(NameUsed { kind, name, template, span: range(span) });
    }

    fn assign(&mut self, target: &ast::Expr<'_>) {
        match target {
            ast::Expr::Var(variable) => {
                self.out.reads.assigned.insert(variable.id.to_owned());
            }
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.assign(item)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.assign(item)),
            // `{% set ns.x = … %}` writes into a namespace, and so reads the namespace.
            other => self.expression(other),
        }
    }

    fn include(&mut self, name: &ast::Expr<'_>, may_miss: bool) {
        let span = range(name.span());
        let constant = match name {
            ast::Expr::Const(constant) => Some(constant.value.clone()),
            ast::Expr::List(list) => list.as_const(),
            _ => None,
        };
        let Some(value) = constant else {
            self.out.computed.push(span);
            return;
        };
        match value.as_str() {
            Some(name) => self.out.includes.push(Include { name: name.to_owned(), may_miss, span }),
            None => {
                // `{% include ["a.j2", "b.j2"] %}` takes the first one that exists.
                for item in value.try_iter().into_iter().flatten() {
                    let name = item.to_string();
                    self.out.includes.push(Include { name, may_miss: true, span: span.clone() });
                }
            }
        }
    }

    fn body(&mut self, statements: &[ast::Stmt<'_>]) {
        statements.iter().for_each(|statement| self.statement(statement));
    }

    fn macro_body(&mut self, declared: &ast::Macro<'_>) {
        self.out.reads.assigned.insert(declared.name.to_owned());
        declared.args.iter().for_each(|arg| self.assign(arg));
        declared.defaults.iter().for_each(|default| self.expression(default));
        self.body(&declared.body);
    }

    fn call(&mut self, call: &ast::Call<'_>) {
        self.expression(&call.expr);
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) {
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value)
                | ast::CallArg::Kwarg(_, value)
                | ast::CallArg::PosSplat(value)
                | ast::CallArg::KwargSplat(value) => self.expression(value),
            }
        }
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>) {
        use ast::Stmt;
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::ForLoop(each) => {
                self.assign(&each.target);
                self.expression(&each.iter);
                each.filter_expr.iter().for_each(|filter| self.expression(filter));
                self.body(&each.body);
                self.body(&each.else_body);
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr);
                self.body(&condition.true_body);
                self.body(&condition.false_body);
            }
            Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    self.assign(target);
                    self.expression(value);
                }
                self.body(&with.body);
            }
            Stmt::Set(set) => {
                self.assign(&set.target);
                self.expression(&set.expr);
            }
            Stmt::SetBlock(set) => {
                self.assign(&set.target);
                set.filter.iter().for_each(|filter| self.expression(filter));
                self.body(&set.body);
            }
            Stmt::AutoEscape(escape) => {
                self.expression(&escape.enabled);
                self.body(&escape.body);
            }
            Stmt::FilterBlock(block) => {
                self.expression(&block.filter);
                self.body(&block.body);
            }
            Stmt::Block(block) => self.body(&block.body),
            Stmt::Import(import) => {
                self.include(&import.expr, false);
                self.assign(&import.name);
            }
            Stmt::FromImport(import) => {
                self.include(&import.expr, false);
                import.names.iter().for_each(|(name, alias)| self.assign(alias.as_ref().unwrap_or(name)));
            }
            Stmt::Extends(extends) => self.include(&extends.name, false),
            Stmt::Include(include) => self.include(&include.name, include.ignore_missing),
            Stmt::Macro(declared) => self.macro_body(declared),
            Stmt::CallBlock(block) => {
                self.call(&block.call);
                self.macro_body(&block.macro_decl);
            }
            Stmt::Do(run) => self.call(&run.call),
        }
    }

    fn expression(&mut self, expression: &ast::Expr<'_>) {
        use ast::Expr;
        match expression {
            Expr::Var(variable) => self.read(variable.id, None, variable.span()),
            Expr::Const(_) => {}
            Expr::Slice(slice) => {
                self.expression(&slice.expr);
                [&slice.start, &slice.stop, &slice.step].into_iter().flatten().for_each(|part| self.expression(part));
            }
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                self.expression(&operation.left);
                self.expression(&operation.right);
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr);
                compare.ops.iter().for_each(|operand| self.expression(&operand.expr));
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr);
                self.expression(&choice.true_expr);
                choice.false_expr.iter().for_each(|other| self.expression(other));
            }
            Expr::Filter(filter) => {
                self.used(NameKind::Filter, filter.name, filter.span());
                filter.expr.iter().for_each(|value| self.expression(value));
                self.arguments(&filter.args);
            }
            Expr::Test(test) => {
                self.used(NameKind::Test, test.name, test.span());
                self.expression(&test.expr);
                self.arguments(&test.args);
            }
            Expr::GetAttr(get) => match &get.expr {
                Expr::Var(variable) => self.read(variable.id, Some(get.name), variable.span()),
                other => self.expression(other),
            },
            Expr::GetItem(get) => {
                match (&get.expr, get.subscript_expr.as_const()) {
                    (Expr::Var(variable), Some(key)) if key.as_str().is_some() => {
                        self.read(variable.id, key.as_str(), variable.span());
                    }
                    (other, _) => self.expression(other),
                }
                self.expression(&get.subscript_expr);
            }
            Expr::Call(call) => match &call.expr {
                // A method call reads the whole object: `row.items()` reads all of the row.
                Expr::GetAttr(method) => {
                    self.expression(&method.expr);
                    self.arguments(&call.args);
                }
                _ => self.call(call),
            },
            Expr::List(list) => list.items.iter().for_each(|item| self.expression(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expression(item)),
            Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(|part| self.expression(part)),
        }
    }
}
