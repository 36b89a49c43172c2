"""What to look for in the syntax trees: one grammar and three queries for each language.

`definitions` names what a file defines: ``@def.<kind>`` for the whole of it, ``@name``, where the syntax has them
``@doc`` (a docstring) and ``@parent`` (what it belongs to). ``@scope`` is something that only lends its name as a
parent. `imports` captures ``@module`` or, where the parts have to be read from the text, ``@import``. `spans` captures
``@comment``, ``@string``, ``@docstring`` and ``@branch``, each decision that a reader has to follow.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grammar:
    """Where a grammar comes from, and what to ask of it.

    Attributes:
        package: The module of its wheel.
        function: The function there that returns the grammar.
    """

    package: str
    function: str
    definitions: str
    imports: str
    spans: str


_PYTHON = Grammar(
    "tree_sitter_python",
    "language",
    definitions="""
        (class_definition name: (identifier) @name
            body: (block . (expression_statement . (string) @doc)?)) @def.class
        (function_definition name: (identifier) @name
            body: (block . (expression_statement . (string) @doc)?)) @def.function
        (module (expression_statement (assignment left: (identifier) @name)) @def.variable)
        (module . (comment)* . (expression_statement . (string) @module.doc))
    """,
    imports="[(import_statement) (import_from_statement) (future_import_statement)] @import",
    spans="""
        (comment) @comment
        (string) @string
        (expression_statement . (string) @docstring .)
        [(if_statement) (elif_clause) (for_statement) (while_statement) (except_clause) (case_clause)
         (boolean_operator) (conditional_expression) (if_clause)] @branch
    """,
)

_GO = Grammar(
    "tree_sitter_go",
    "language",
    definitions="""
        (function_declaration name: (identifier) @name) @def.function
        (method_declaration
            receiver: (parameter_list (parameter_declaration type: [
                (type_identifier) @parent
                (pointer_type (type_identifier) @parent)
                (generic_type type: (type_identifier) @parent)
                (pointer_type (generic_type type: (type_identifier) @parent))]))
            name: (field_identifier) @name) @def.method
        (source_file (type_declaration (type_spec name: (type_identifier) @name type: (struct_type)) @def.struct))
        (source_file (type_declaration (type_spec name: (type_identifier) @name type: (interface_type)) @def.interface))
        (source_file (type_declaration (type_spec name: (type_identifier) @name) @def.type))
        (source_file (type_declaration (type_alias name: (type_identifier) @name) @def.type))
        (source_file (const_declaration (const_spec name: (identifier) @name) @def.constant))
        (source_file (var_declaration (var_spec name: (identifier) @name) @def.variable))
        (source_file (var_declaration (var_spec_list (var_spec name: (identifier) @name) @def.variable)))
    """,
    imports="(import_spec path: [(interpreted_string_literal) (raw_string_literal)] @module)",
    spans="""
        (comment) @comment
        [(interpreted_string_literal) (raw_string_literal) (rune_literal)] @string
        [(if_statement) (for_statement) (expression_case) (type_case) (communication_case)] @branch
        (binary_expression operator: ["&&" "||"]) @branch
    """,
)

_SCRIPT_DEFINITIONS = """
    (function_declaration name: (identifier) @name) @def.function
    (generator_function_declaration name: (identifier) @name) @def.function
    (class_declaration name: (_) @name) @def.class
    (method_definition name: (_) @name) @def.method
    (program (lexical_declaration
        (variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)])) @def.function)
    (program (export_statement (lexical_declaration
        (variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)])) @def.function))
    (program (lexical_declaration (variable_declarator name: (identifier) @name)) @def.constant)
    (program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name)) @def.constant))
"""
_SCRIPT_IMPORTS = """
    (import_statement source: (string) @module)
    (export_statement source: (string) @module)
    (call_expression function: (identifier) @_require arguments: (arguments . (string) @module)
        (#eq? @_require "require"))
    (call_expression function: (import) arguments: (arguments . (string) @module))
"""
_SCRIPT_SPANS = """
    (comment) @comment
    [(string) (template_string) (regex)] @string
    [(if_statement) (for_statement) (for_in_statement) (while_statement) (do_statement) (catch_clause) (switch_case)
     (ternary_expression)] @branch
    (binary_expression operator: ["&&" "||" "??"]) @branch
"""
_TYPED_DEFINITIONS = (
    _SCRIPT_DEFINITIONS
    + """
    (abstract_class_declaration name: (_) @name) @def.class
    (interface_declaration name: (_) @name) @def.interface
    (type_alias_declaration name: (_) @name) @def.type
    (enum_declaration name: (_) @name) @def.enum
    (abstract_method_signature name: (_) @name) @def.method
"""
)

_RUST = Grammar(
    "tree_sitter_rust",
    "language",
    definitions="""
        (function_item name: (identifier) @name) @def.function
        (function_signature_item name: (identifier) @name) @def.function
        (struct_item name: (type_identifier) @name) @def.struct
        (union_item name: (type_identifier) @name) @def.struct
        (enum_item name: (type_identifier) @name) @def.enum
        (trait_item name: (type_identifier) @name) @def.trait
        (type_item name: (type_identifier) @name) @def.type
        (mod_item name: (identifier) @name) @def.module
        (const_item name: (identifier) @name) @def.constant
        (static_item name: (identifier) @name) @def.variable
        (macro_definition name: (identifier) @name) @def.macro
        (impl_item type: [
            (type_identifier) @name
            (generic_type type: (type_identifier) @name)
            (scoped_type_identifier name: (type_identifier) @name)]) @scope
    """,
    imports="[(use_declaration) (extern_crate_declaration)] @import",
    spans="""
        [(line_comment) (block_comment)] @comment
        [(string_literal) (raw_string_literal)] @string
        [(if_expression) (match_arm) (while_expression) (for_expression) (loop_expression)] @branch
        (binary_expression operator: ["&&" "||"]) @branch
    """,
)

_JAVA = Grammar(
    "tree_sitter_java",
    "language",
    definitions="""
        (class_declaration name: (identifier) @name) @def.class
        (record_declaration name: (identifier) @name) @def.class
        (interface_declaration name: (identifier) @name) @def.interface
        (annotation_type_declaration name: (identifier) @name) @def.interface
        (enum_declaration name: (identifier) @name) @def.enum
        (method_declaration name: (identifier) @name) @def.method
        (constructor_declaration name: (identifier) @name) @def.method
    """,
    imports="(import_declaration) @import",
    spans="""
        [(line_comment) (block_comment)] @comment
        (string_literal) @string
        [(if_statement) (for_statement) (enhanced_for_statement) (while_statement) (do_statement) (catch_clause)
         (switch_label) (ternary_expression)] @branch
        (binary_expression operator: ["&&" "||"]) @branch
    """,
)

_C = Grammar(
    "tree_sitter_c",
    "language",
    definitions="""
        (function_definition declarator: [
            (function_declarator declarator: (identifier) @name)
            (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))
            (pointer_declarator declarator: (pointer_declarator
                declarator: (function_declarator declarator: (identifier) @name)))]) @def.function
        (declaration declarator: [
            (function_declarator declarator: (identifier) @name)
            (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))]) @def.prototype
        (struct_specifier name: (type_identifier) @name body: (_)) @def.struct
        (union_specifier name: (type_identifier) @name body: (_)) @def.struct
        (enum_specifier name: (type_identifier) @name body: (_)) @def.enum
        (type_definition declarator: (type_identifier) @name) @def.type
        (type_definition declarator: (function_declarator declarator:
            (parenthesized_declarator (pointer_declarator declarator: (type_identifier) @name)))) @def.type
        (preproc_def name: (identifier) @name value: (_)) @def.constant
        (preproc_function_def name: (identifier) @name) @def.macro
    """,
    imports="(preproc_include path: [(system_lib_string) (string_literal)] @module)",
    spans="""
        (comment) @comment
        [(string_literal) (char_literal)] @string
        [(if_statement) (for_statement) (while_statement) (do_statement) (case_statement)
         (conditional_expression)] @branch
        (binary_expression operator: ["&&" "||"]) @branch
    """,
)

GRAMMARS = {
    "Python": _PYTHON,
    "Go": _GO,
    "JavaScript": Grammar("tree_sitter_javascript", "language", _SCRIPT_DEFINITIONS, _SCRIPT_IMPORTS, _SCRIPT_SPANS),
    "TypeScript": Grammar(
        "tree_sitter_typescript", "language_typescript", _TYPED_DEFINITIONS, _SCRIPT_IMPORTS, _SCRIPT_SPANS
    ),
    "TSX": Grammar("tree_sitter_typescript", "language_tsx", _TYPED_DEFINITIONS, _SCRIPT_IMPORTS, _SCRIPT_SPANS),
    "Rust": _RUST,
    "Java": _JAVA,
    "C": _C,
}
