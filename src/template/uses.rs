//! How a template uses the columns of a row: what it prints, what it compares with numbers, what it takes for true.
//!
//! Only what a column's own value decides is told. A column behind a filter, or printed where a condition has looked at
//! it, is somebody's intent.

use std::collections::BTreeSet;
use std::ops::Range;

use minijinja::machinery::ast::{self, Expr, Stmt};
use minijinja::value::ValueKind;
use serde_json::{Map, Value};

use super::Template;
use crate::problem::Place;

/// How a column is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// It becomes part of the text: a null would be written as `none`.
    Printed,
    /// It is compared with a number.
    Compared,
    /// It decides a condition: any text but the empty one is true, `False` too.
    Condition,
}

/// A column, how it is used, and where.
#[derive(Clone, Debug)]
pub struct ColumnUse {
    pub column: String,
    pub usage: Usage,
    pub place: Place,
}

/// A use in one source of a template.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub column: String,
    pub usage: Usage,
    pub template: String,
    pub span: Range<usize>,
}

/// The variable that holds the row.
const ROW: &str = "row";
/// Filters that leave null as it is when they print it.
const PRINTING: &[&str] =
    &["trim", "upper", "lower", "title", "capitalize", "replace", "string", "indent", "escape", "e"];

/// Finds the uses of columns in one parsed source.
pub(super) fn uses(parsed: &Stmt<'_>, template: &str, result: &str) -> Vec<Used> {
    let mut finder = Finder { template, result, looked_at: Vec::new(), found: Vec::new() };
    finder.statement(parsed);
    finder.found
}

struct Finder<'a> {
    template: &'a str,
    /// The variable to which the value of an expression is assigned.
    result: &'a str,
    /// The columns that the conditions around have looked at.
    looked_at: Vec<BTreeSet<String>>,
    found: Vec<Used>,
}

/// Returns the column that an expression is, with its place.
fn column(expression: &Expr<'_>) -> Option<(String, Range<usize>)> {
    let (base, name, span) = match expression {
        Expr::GetAttr(get) => (&get.expr, get.name.to_owned(), get.span()),
        Expr::GetItem(get) => (&get.expr, get.subscript_expr.as_const()?.as_str()?.to_owned(), get.span()),
        _ => return None,
    };
    match base {
        Expr::Var(variable) if variable.id == ROW => {
            Some((name, variable.span().start_offset as usize..span.end_offset as usize))
        }
        _ => None,
    }
}

fn is_number(expression: &Expr<'_>) -> bool {
    match expression {
        Expr::UnaryOp(operation) => is_number(&operation.expr),
        other => other.as_const().is_some_and(|value| value.kind() == ValueKind::Number),
    }
}

/// Adds all columns in an expression.
fn columns(expression: &Expr<'_>, into: &mut BTreeSet<String>) {
    if let Some((name, _)) = column(expression) {
        into.insert(name);
        return;
    }
    match expression {
        Expr::UnaryOp(operation) => columns(&operation.expr, into),
        Expr::BinOp(operation) => [&operation.left, &operation.right].into_iter().for_each(|e| columns(e, into)),
        Expr::Compare(compare) => {
            columns(&compare.expr, into);
            compare.ops.iter().for_each(|operand| columns(&operand.expr, into));
        }
        Expr::Filter(filter) => filter.expr.iter().for_each(|e| columns(e, into)),
        Expr::Test(test) => columns(&test.expr, into),
        _ => {}
    }
}

impl Finder<'_> {
    fn add(&mut self, usage: Usage, (column, span): (String, Range<usize>)) {
        let is_looked_at = self.looked_at.iter().any(|columns| columns.contains(&column));
        if usage != Usage::Printed || !is_looked_at {
            self.found.push(Used { column, usage, template: self.template.to_owned(), span });
        }
    }

    /// An expression whose value becomes text.
    fn printed(&mut self, expression: &Expr<'_>) {
        if let Some(column) = column(expression) {
            self.add(Usage::Printed, column);
            return;
        }
        match expression {
            Expr::Filter(filter) if PRINTING.contains(&filter.name) => {
                filter.expr.iter().for_each(|inner| self.printed(inner));
            }
            Expr::BinOp(operation) => match operation.op {
                ast::BinOpKind::Concat => {
                    self.printed(&operation.left);
                    self.printed(&operation.right);
                }
                // What is printed is the right side where the left one is null.
                ast::BinOpKind::ScOr => self.printed(&operation.right),
                _ => {}
            },
            Expr::IfExpr(choice) => {
                let mut seen = BTreeSet::new();
                columns(&choice.test_expr, &mut seen);
                self.looked_at.push(seen);
                self.printed(&choice.true_expr);
                choice.false_expr.iter().for_each(|other| self.printed(other));
                self.looked_at.pop();
            }
            _ => {}
        }
    }

    /// An expression whose truth decides something; `is_whole` for one that decides about a row.
    fn condition(&mut self, expression: &Expr<'_>, is_whole: bool) {
        match expression {
            Expr::UnaryOp(operation) => self.condition(&operation.expr, is_whole),
            Expr::BinOp(operation) if matches!(operation.op, ast::BinOpKind::ScAnd | ast::BinOpKind::ScOr) => {
                self.condition(&operation.left, is_whole);
                self.condition(&operation.right, is_whole);
            }
            other => {
                if let (Some(column), true) = (column(other), is_whole) {
                    self.add(Usage::Condition, column);
                }
                self.compared(other);
            }
        }
    }

    /// Finds comparisons with numbers anywhere in an expression.
    fn compared(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Compare(compare) => {
                let operands: Vec<&Expr<'_>> =
                    std::iter::once(&compare.expr).chain(compare.ops.iter().map(|operand| &operand.expr)).collect();
                operands.windows(2).for_each(|pair| self.pair(pair[0], pair[1]));
            }
            Expr::UnaryOp(operation) => self.compared(&operation.expr),
            Expr::BinOp(operation) => {
                use ast::BinOpKind::{Eq, Gt, Gte, Lt, Lte, Ne};
                if matches!(operation.op, Eq | Ne | Lt | Lte | Gt | Gte) {
                    self.pair(&operation.left, &operation.right);
                }
                self.compared(&operation.left);
                self.compared(&operation.right);
            }
            Expr::IfExpr(choice) => {
                self.compared(&choice.test_expr);
                self.compared(&choice.true_expr);
                choice.false_expr.iter().for_each(|other| self.compared(other));
            }
            Expr::Filter(filter) => filter.expr.iter().for_each(|inner| self.compared(inner)),
            _ => {}
        }
    }

    /// Two values that are compared with each other.
    fn pair(&mut self, left: &Expr<'_>, right: &Expr<'_>) {
        for (one, other) in [(left, right), (right, left)] {
            if let (Some(column), true) = (column(one), is_number(other)) {
                self.add(Usage::Compared, column);
            }
        }
    }

    fn body(&mut self, statements: &[Stmt<'_>]) {
        statements.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitExpr(emit) => {
                self.printed(&emit.expr);
                self.compared(&emit.expr);
            }
            Stmt::IfCond(condition) => {
                self.condition(&condition.expr, false);
                let mut seen = BTreeSet::new();
                columns(&condition.expr, &mut seen);
                self.looked_at.push(seen);
                self.body(&condition.true_body);
                self.body(&condition.false_body);
                self.looked_at.pop();
            }
            Stmt::ForLoop(each) => {
                each.filter_expr.iter().for_each(|filter| self.condition(filter, false));
                self.body(&each.body);
                self.body(&each.else_body);
            }
            Stmt::WithBlock(with) => self.body(&with.body),
            Stmt::Set(set) => match &set.target {
                Expr::Var(variable) if variable.id == self.result => self.condition(&set.expr, true),
                _ => self.compared(&set.expr),
            },
            Stmt::SetBlock(set) => self.body(&set.body),
            Stmt::AutoEscape(escape) => self.body(&escape.body),
            Stmt::FilterBlock(block) => self.body(&block.body),
            Stmt::Block(block) => self.body(&block.body),
            Stmt::Macro(declared) => self.body(&declared.body),
            _ => {}
        }
    }
}

/// A column that a condition compares with a number, or takes for true.
#[derive(Clone, Debug)]
pub struct Guard {
    column: String,
    usage: Usage,
}

/// Returns what is wrong with a condition about a row: it takes a column for something else than the text that stands in
/// it. None if nothing is.
pub fn mixed_types(guards: &[Guard], columns: &Map<String, Value>) -> Option<String> {
    let Guard { column, usage } =
        guards.iter().find(|guard| columns.get(&guard.column).is_some_and(Value::is_string))?;
    Some(match usage {
        Usage::Compared => format!(
            "compares text with a number: `{column}` is text; `types: {{ {column}: number }}` on the dataset makes numbers of it"
        ),
        _ => format!(
            "takes text for true: `{column}` is text, and any but the empty one is true; `types: {{ {column}: boolean }}` on the dataset makes true and false of it"
        ),
    })
}

impl Template {
    /// Returns what to look at before the expression decides about a row (`mixed_types`).
    pub fn guards(&self) -> Vec<Guard> {
        let told = self.uses.iter().filter(|used| used.usage != Usage::Printed);
        told.map(|used| Guard { column: used.column.clone(), usage: used.usage }).collect()
    }

    /// Returns how the template uses columns of the row. Conditions are told for expressions alone, whose truth decides
    /// about a row.
    pub fn column_uses(&self) -> Vec<ColumnUse> {
        let place = |used: &Used| self.place_of(&used.template, used.span.clone());
        let told =
            |used: &Used| Some(ColumnUse { column: used.column.clone(), usage: used.usage, place: place(used)? });
        self.uses.iter().filter_map(told).collect()
    }
}
