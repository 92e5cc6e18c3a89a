// Package expr knows the expression language of Azure Pipelines: the text inside
// ${{ }}, inside $[ ], and of every condition.
//
// One use flows like this: [Parse] turns a text into an [Expr] for a [Scope], which
// names the values and functions the place offers; [Expr.Eval] computes a [Value]
// from an [Env], which supplies them. The package touches neither files nor the
// network. An Expr and a Value never change and may be used concurrently.
//
// [EvalStepCondition] is the whole journey in one call for a step's condition.
package expr
