//! Values that are taken out of texts, or the reason why there is none.

use minijinja::Value;

use super::environment::{self, NoValue};
use super::{Template, TemplateError};

impl Template {
    /// Evaluates as [`Template::evaluate`] does. Where the value is none because the filter `json` found none, says why.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub fn extract(&self, variables: &Value) -> Result<Result<Value, NoValue>, TemplateError> {
        environment::take_no_value();
        let value = self.evaluate(variables)?;
        match environment::take_no_value().filter(|_| value.is_none()) {
            Some(why) => Ok(Err(why)),
            None => Ok(Ok(value)),
        }
    }

    /// Returns true if its value may be null because a null was found: it reads JSON, or the calls of tools.
    pub fn reads_structure(&self) -> bool {
        self.reads.reads("tool_calls") || self.texts().any(|(_, text)| text.contains("json"))
    }
}
