-- `function` is a reserved word in MySQL, and the statements are the same for all databases.
ALTER TABLE tasks RENAME COLUMN function TO function_name;
