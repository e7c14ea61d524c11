-- What is in a version of the linear family.

CREATE FUNCTION @extschema@.coefficients(model text, version integer DEFAULT NULL)
RETURNS TABLE (feature text, level text, coefficient double precision, std_error double precision,
	statistic double precision, p_value double precision, aliased boolean, class text)
LANGUAGE C STABLE PARALLEL SAFE ROWS 50
AS 'MODULE_PATHNAME', 'pe_coefficients';
COMMENT ON FUNCTION @extschema@.coefficients(text, integer) IS
	'the coefficient table of a logistic, linear, glm or multinomial version; statistic is z or t, aliased columns repeat others, class is that of multinomial';

CREATE FUNCTION @extschema@.lambda_path(model text, version integer DEFAULT NULL)
RETURNS TABLE (step integer, lambda double precision, nonzero integer, deviance_explained double precision,
	cv_mean double precision, cv_error double precision, cv_least boolean, cv_one_error boolean, chosen boolean)
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
AS 'MODULE_PATHNAME', 'pe_lambda_path';
COMMENT ON FUNCTION @extschema@.lambda_path(text, integer) IS
	'the elastic net''s penalties from the largest down: coefficients that are not 0, share of deviance explained on the training rows, mean deviance of left-out rows with its standard error, and which one was kept';

REVOKE ALL ON FUNCTION @extschema@.coefficients(text, integer), @extschema@.lambda_path(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.coefficients(text, integer), @extschema@.lambda_path(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
