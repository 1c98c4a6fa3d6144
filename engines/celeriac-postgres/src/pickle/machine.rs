//! The machine that a pickle is a program for, with the instructions that make plain data.

use celeriac_protocol::json::Value;

use super::{Refused, numbers, values};

/// Reads a pickle of plain data.
pub(crate) fn read(pickle: &[u8]) -> Result<Value, Refused> {
    let mut machine =
        Machine { rest: pickle, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() };
    let root = machine.run()?;
    values::value(&machine.nodes, root)
}

/// The place of a node.
pub(super) type Id = usize;

/// Something the machine has made. Lists and dictionaries are filled after they were made, and may be referred to before.
#[derive(Clone)]
pub(super) enum Node {
    Plain(Value),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by its name: `module.name`.
    Named(String),
    /// What calling one of the harmless ones gives.
    Called {
        name: String,
        args: Vec<Id>,
        state: Option<Id>,
    },
}

struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Where on the stack marks are.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

/// How many things a pickle may remember.
const MEMO_MAX: usize = 1_000_000;

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, Refused> {
        loop {
            let instruction = self.byte()?;
            match instruction {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_to_mark()?),
                b'2' => {
                    let top = self.pop()?;
                    self.stack.extend([top, top]);
                }
                b'N' => self.plain(Value::Null),
                0x88 => self.plain(Value::Bool(true)),
                0x89 => self.plain(Value::Bool(false)),
                b'I' | b'L' | b'F' => self.number_in_text(instruction)?,
                b'J' => {
                    let bytes = self.array()?;
                    self.plain(Value::Int(i64::from(i32::from_le_bytes(bytes))));
                }
                b'K' => {
                    let byte = self.byte()?;
                    self.plain(Value::Int(i64::from(byte)));
                }
                b'M' => {
                    let bytes = self.array()?;
                    self.plain(Value::Int(i64::from(u16::from_le_bytes(bytes))));
                }
                0x8a | 0x8b => {
                    let length = if instruction == 0x8a { usize::from(self.byte()?) } else { self.length4()? };
                    let number = numbers::from_bytes(self.take(length)?).ok_or("holds too long a number")?;
                    self.plain(number);
                }
                b'G' => {
                    let bytes = self.array()?;
                    self.plain(Value::Float(f64::from_be_bytes(bytes)));
                }
                b'X' | 0x8c | 0x8d => {
                    let length = self.length(instruction, 0x8c, b'X')?;
                    let text = self.utf8(length)?;
                    self.plain(Value::String(text));
                }
                b'V' => {
                    let line = self.line()?;
                    if line.contains('\\') {
                        return Err("holds a text of protocol 0 with escapes".to_owned());
                    }
                    self.plain(Value::String(line.to_owned()));
                }
                b'S' => {
                    let line = self.line()?;
                    let quoted = line.get(1..line.len().saturating_sub(1)).unwrap_or_default();
                    if quoted.contains('\\') {
                        return Err("holds a string of protocol 0 with escapes".to_owned());
                    }
                    self.plain(Value::String(quoted.to_owned()));
                }
                b'T' | b'U' => {
                    let length = self.length(instruction, b'U', b'T')?;
                    let text = String::from_utf8_lossy(self.take(length)?).into_owned();
                    self.plain(Value::String(text));
                }
                b'B' | b'C' | 0x8e | 0x96 => {
                    let length = self.length(instruction, b'C', b'B')?;
                    let bytes = self.take(length)?.to_vec();
                    self.plain(Value::Bytes(bytes));
                }
                b']' | 0x8f => self.push(Node::List(Vec::new())),
                b')' => self.push(Node::Tuple(Vec::new())),
                b'}' => self.push(Node::Dict(Vec::new())),
                b'l' | 0x91 => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::List(items));
                }
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Tuple(items));
                }
                b'd' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Dict(pairs(&items)?));
                }
                0x85..=0x87 => {
                    let items = self.top(usize::from(instruction - 0x84))?;
                    self.push(Node::Tuple(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let items = self.top(2)?;
                    self.set_items(&items)?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set_items(&items)?;
                }
                b'p' => {
                    let index = self.line()?.parse().map_err(|_| "remembers something under no number")?;
                    self.remember(index)?;
                }
                b'q' => {
                    let index = usize::from(self.byte()?);
                    self.remember(index)?;
                }
                b'r' => {
                    let index = self.length4()?;
                    self.remember(index)?;
                }
                0x94 => self.remember(self.memo.len())?,
                b'g' => {
                    let index = self.line()?.parse().map_err(|_| "asks its memo for no number")?;
                    self.recall(index)?;
                }
                b'h' => {
                    let index = usize::from(self.byte()?);
                    self.recall(index)?;
                }
                b'j' => {
                    let index = self.length4()?;
                    self.recall(index)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Node::Named(format!("{module}.{name}")));
                }
                0x93 => {
                    let items = self.top(2)?;
                    let name = format!("{}.{}", self.text(items[0])?, self.text(items[1])?);
                    self.push(Node::Named(name));
                }
                b'R' | 0x81 => {
                    let items = self.top(2)?;
                    self.call(items[0], items[1])?;
                }
                b'b' => self.build()?,
                other => return Err(format!("has the instruction {other:#04x}, which plain data does not need")),
            }
        }
    }

    fn call(&mut self, function: Id, args: Id) -> Result<(), Refused> {
        let Node::Named(name) = &self.nodes[function] else { return Err("calls what is no function".to_owned()) };
        let Node::Tuple(args) = &self.nodes[args] else { return Err("calls with what is no tuple".to_owned()) };
        if !values::is_harmless(name) {
            return Err(format!("holds a `{name}`, and only plain data is read from pickles"));
        }
        let called = Node::Called { name: name.clone(), args: args.clone(), state: None };
        self.push(called);
        Ok(())
    }

    fn build(&mut self) -> Result<(), Refused> {
        let built = self.pop()?;
        let object = *self.stack.last().ok_or_else(empty)?;
        match &mut self.nodes[object] {
            Node::Called { state, .. } => {
                *state = Some(built);
                Ok(())
            }
            _ => Err("builds upon what is no object".to_owned()),
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Refused> {
        let list = *self.stack.last().ok_or_else(empty)?;
        match &mut self.nodes[list] {
            Node::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => Err("appends to what is no list".to_owned()),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Refused> {
        let items = pairs(items)?;
        let dict = *self.stack.last().ok_or_else(empty)?;
        match &mut self.nodes[dict] {
            Node::Dict(dict) => {
                dict.extend(items);
                Ok(())
            }
            Node::Called { name, .. } => Err(format!("puts items into a `{name}`")),
            _ => Err("puts items into what is no dictionary".to_owned()),
        }
    }

    fn number_in_text(&mut self, kind: u8) -> Result<(), Refused> {
        let line = self.line()?;
        let value = match (kind, line) {
            (b'I', "00") => Value::Bool(false),
            (b'I', "01") => Value::Bool(true),
            (b'F', text) => Value::Float(text.parse().map_err(|_| "holds a number that is none")?),
            (_, text) => {
                let digits = text.strip_suffix('L').unwrap_or(text);
                let bytes = numbers::to_bytes(digits).ok_or("holds a number that is none")?;
                numbers::from_bytes(&bytes).ok_or("holds too long a number")?
            }
        };
        self.plain(value);
        Ok(())
    }

    fn remember(&mut self, index: usize) -> Result<(), Refused> {
        if index >= MEMO_MAX {
            return Err("remembers too much".to_owned());
        }
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(*self.stack.last().ok_or_else(empty)?);
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Result<(), Refused> {
        let id = self.memo.get(index).copied().flatten().ok_or("asks its memo for what is not there")?;
        self.stack.push(id);
        Ok(())
    }

    fn text(&self, id: Id) -> Result<&str, Refused> {
        match &self.nodes[id] {
            Node::Plain(Value::String(text)) => Ok(text),
            _ => Err("names something by what is no text".to_owned()),
        }
    }

    fn plain(&mut self, value: Value) {
        self.push(Node::Plain(value));
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, Refused> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor { Err(empty()) } else { self.stack.pop().ok_or_else(empty) }
    }

    fn top(&mut self, count: usize) -> Result<Vec<Id>, Refused> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= floor).ok_or_else(empty)?;
        Ok(self.stack.split_off(start))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Refused> {
        let mark = self.marks.pop().ok_or_else(|| "has no mark where it needs one".to_owned())?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| "ends in the middle".to_owned())?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        self.take(N)?.try_into().map_err(|_| "ends in the middle".to_owned())
    }

    fn length4(&mut self) -> Result<usize, Refused> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// The length behind an instruction: of one byte, of four, or of eight.
    fn length(&mut self, instruction: u8, short: u8, middle: u8) -> Result<usize, Refused> {
        match instruction {
            _ if instruction == short => Ok(usize::from(self.byte()?)),
            _ if instruction == middle => self.length4(),
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| "ends in the middle".to_owned()),
        }
    }

    fn utf8(&mut self, length: usize) -> Result<String, Refused> {
        std::str::from_utf8(self.take(length)?)
            .map(ToOwned::to_owned)
            .map_err(|_| "holds a text that is none".to_owned())
    }

    fn line(&mut self) -> Result<&'a str, Refused> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| "ends in the middle".to_owned())?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "holds a text that is none".to_owned())
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Refused> {
    let (pairs, []) = items.as_chunks::<2>() else { return Err("has a key without a value".to_owned()) };
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

fn empty() -> Refused {
    "takes something from an empty stack".to_owned()
}
