SELECT
    contract,
    internet_service,
    tenure_band,
    count(*) AS customers,
    count(*) FILTER (WHERE churned) AS churned_customers,
    count(churned) AS labelled_customers,
    sum(monthly_charges) AS monthly_charges_sum,
    round(avg(monthly_charges), 2) AS monthly_charges_avg,
    max(updated_at) AS newest_update_at
FROM gold.customer_features
GROUP BY contract, internet_service, tenure_band
