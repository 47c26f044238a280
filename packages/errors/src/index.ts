export { AppError, errorOfProblem, type ProblemExtensions } from './app-error.js';
export { messageOf, systemCode, toAppError } from './foreign-errors.js';
